"""Traffic: what must be accepted is sent until it has had its yes, with the same idempotency key; calls only once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import msgspec

from tests.chaos.mix import LINES, Mix, Pace, Sent, digest, scan

PATIENCE = 120.0
"""Seconds that one message may take to be accepted, faults included."""


class Door(NamedTuple):
    """Where messages go in, and what makes them those of this drill."""

    url: str
    key: str
    run: str
    data: Path


async def send_all(door: Door, mix: Mix, *, at_once: int) -> Sent:
    """Send and drop all of the mix; returns what went in."""
    sent, pace = Sent(), Pace(mix.orders)
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=at_once + 16), timeout=10.0,
                                 headers={"X-API-Key": door.key}) as client:
        load = _Load(client, door, mix, sent, pace)
        numbers = iter(range(mix.orders))
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(load.orders(numbers))
            for one in (load.rows(), load.papers(), load.scans(), load.baskets(), load.calls("ask", 0),
                        load.calls("near", 1)):
                group.create_task(one)
    return sent


class _Load:
    def __init__(self, client: httpx.AsyncClient, door: Door, mix: Mix, sent: Sent, pace: Pace) -> None:
        self._client, self._door, self._mix, self._sent, self._pace = client, door, mix, sent, pace

    async def orders(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            await self._accepted("chaos", f"order-{number}", {"number": number, "text": "x" * 200})
            self._sent.must[f"order {number}"] = number * 2
            await self._pace.moved()

    async def baskets(self) -> None:
        for basket in range(self._mix.baskets):
            await self._pace.due(basket, self._mix.baskets)
            lines = [basket * LINES + index for index in range(LINES)]
            await self._accepted("baskets", f"basket-{basket}",
                                 {"number": basket, "lines": [{"number": line} for line in lines]})
            self._sent.must[f"basket {basket}"] = [line * 2 for line in lines]
            self._sent.must |= {f"member {line}": line for line in lines}

    async def scans(self) -> None:
        for number in range(self._mix.scans):
            await self._pace.due(number, self._mix.scans)
            body = scan(number)
            await self._accepted("scans", f"scan-{number}", body, {"X-Number": str(number)})
            self._sent.must |= {f"scan {number}": digest(body), f"scan file {number}": digest(body)}

    async def rows(self) -> None:
        each = self._mix.rows_each
        for file in range(self._mix.row_files):
            await self._pace.due(file, self._mix.row_files)
            texts = {number: f'row "{number}"; {"y" * 100}' for number in range(file * each, (file + 1) * each)}
            quoted = {number: '"' + text.replace('"', '""') + '"' for number, text in texts.items()}
            content = "number,text\n" + "".join(f"{number},{text}\n" for number, text in quoted.items())
            self._drop("rows-in", f"{file}.csv", content)
            self._sent.must |= {f"row {number}": text for number, text in texts.items()}

    async def papers(self) -> None:
        for number in range(self._mix.papers):
            await self._pace.due(number, self._mix.papers)
            content = f"paper {number}\n" * 50
            self._drop("papers-in", f"{number}.txt", content)
            self._sent.must[f"paper {number}"] = digest(content.encode())

    async def calls(self, channel: str, offset: int) -> None:
        """Each once: an error promises nothing, and what was sent on may have been stored all the same."""
        for number in range(offset, self._mix.calls, 2):
            await self._pace.due(number, self._mix.calls)
            self._sent.may[f"asked {number}"] = number * 2
            try:
                answer = await self._client.post(f"{self._door.url}/{channel}", json={"number": number})
            except httpx.HTTPError:
                await self._refused()
                continue
            if answer.status_code == 200:
                self._sent.must[f"asked {number}"] = self._sent.must[f"answer {number}"] = number * 2
                self._sent.answers[f"answer {number}"] = _doubled(answer.content)
            else:
                assert answer.status_code in (429, 500, 502, 503, 504), (answer.status_code, answer.text)
                await self._refused()

    async def _refused(self) -> None:
        """The caller gives up, and the next one comes a little later: not all calls are to meet the same death."""
        self._sent.refused += 1
        await asyncio.sleep(0.25)

    def _drop(self, folder: str, name: str, content: str) -> None:
        """Whole or not at all, as a good sender does it."""
        into = self._door.data / folder
        into.mkdir(parents=True, exist_ok=True)
        part = into / f"{name}.part"
        part.write_text(content)
        part.rename(into / name)

    async def _accepted(self, channel: str, name: str, body: object, more: dict[str, str] | None = None) -> None:
        octets = body if isinstance(body, bytes) else msgspec.json.encode(body)
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        headers = {"Content-Type": kind, "Idempotency-Key": f"{self._door.run}-{name}", **(more or {})}
        deadline, said = time.monotonic() + PATIENCE, ""
        while time.monotonic() < deadline:
            try:
                answer = await self._client.post(f"{self._door.url}/{channel}", content=octets, headers=headers)
            except httpx.HTTPError as error:  # a refused connection: the listener is down
                said = repr(error)
            else:
                if answer.status_code == 202:
                    return
                said = f"{answer.status_code} {answer.text[:300]}"
                assert answer.status_code in (429, 503), said
            await asyncio.sleep(0.05)
        raise AssertionError(f"{name} was not accepted within {PATIENCE:g} s; at last: {said}")


def _doubled(answer: bytes) -> object:
    """What the answer says; what is no such answer stands for itself, and is found wrong."""
    try:
        return msgspec.json.decode(answer)["doubled"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return answer
