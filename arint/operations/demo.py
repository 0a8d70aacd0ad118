"""An example, run to its end: applied, fed with its samples while its second system is away, each order followed."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from arint.errors import ArintError, NotFoundError, TimedOutError
from arint.operations.configuration import ApplyArguments, apply
from arint.operations.inventory import get
from arint.operations.messages import until_settled
from arint.operations.progress import Progress, Step, silent
from arint.operations.story import Story
from arint.operations.up import UpArguments, up
from arint.ports import free_port, port_is_free

if TYPE_CHECKING:
    import httpx

    from arint.engines.process import Process
    from arint.operations.connect import Link

PARTNER = "partner"
PARTNER_PORT = 9650
CHANNEL = "channel/orders-in"


class DemoArguments(msgspec.Struct, frozen=True, kw_only=True):
    """Which example, and how long its second system is away, in seconds."""

    folder: Path
    outage: float = 3.0
    timeout: float = 90.0
    avoid: frozenset[int] = frozenset()
    """Ports of other homes on this machine."""


class OrderResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one sample: where it arrived. `took` is in seconds."""

    sample: str
    order: str
    message: str
    state: str
    database: bool
    partner: bool
    callback: bool | None
    took: float
    error: str = ""


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """All samples, and what the second system did meanwhile. `refused` are requests it did not take while away."""

    url: str
    home: str
    folder: str
    change_set: int
    outage: float
    refused: int
    orders: tuple[OrderResult, ...]

    @property
    def as_expected(self) -> bool:
        """Every right order is everywhere it belongs, and the one that is not right is a dead letter."""
        return all(one.database and one.partner and one.callback is not False if one.state == "done"
                   else one.state == "dead" and "invalid" in one.sample for one in self.orders)


def find_example(name: str) -> Path:
    """The folder of an example: here, or beside the package. Raises NotFoundError."""
    places = [Path(name), Path("examples") / name, Path(__file__).parents[2] / "examples" / name]
    for folder in places:
        if (folder / "samples").is_dir():
            return folder
    raise NotFoundError(f"there is no example {name!r}", where=str(Path.cwd()),
                        remedy="run it where ARINT's source lies, or name the example's folder")


async def demo(link: Link, arguments: DemoArguments, progress: Progress = silent) -> DemoResult:
    """Run the example. Raises ArintError where a part of it cannot be started, TimedOutError."""
    await up(link, UpArguments(timeout=arguments.timeout, avoid=arguments.avoid), progress)
    ensure_key(arguments.folder)
    partner, port = _second_system(link, arguments.folder)
    if port != PARTNER_PORT:
        progress(Step(f"port {PARTNER_PORT} is taken: a copy of the example uses {port}", done=True))
        folder = await asyncio.to_thread(_with_port, arguments.folder, link.home.path / "data" / "example", port)
        arguments = msgspec.structs.replace(arguments, folder=folder)
    partner_url = f"http://127.0.0.1:{port}"
    await _start_partner(partner, partner_url, progress)
    try:
        applied = await apply(link, ApplyArguments(paths=(arguments.folder,), message="the orders example",
                                                   timeout=arguments.timeout), progress)
        (channel,) = await get(link, (CHANNEL,))
        return await _feed(link, arguments, channel.status["url"], partner_url, applied.change_set, progress)
    finally:
        partner.release()


def ensure_key(folder: Path) -> str:
    """The example's API key, made on first use, readable by this user only."""
    file = folder / "orders.key"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe() + "\n")
    return file.read_text().strip()


def _second_system(link: Link, folder: Path) -> tuple[Process, int]:
    """The second system as a process of this home, so that `down` stops it; and its port: the one it runs on already,
    the one that the manifests name, or a free one."""
    from arint.engines.process import Process

    remembered = link.home.data / "partner.port"
    record = link.home.data / "partner.jsonl"

    def process(port: int) -> Process:
        return Process(link.home, PARTNER, (sys.executable, str((folder / "partner.py").absolute()), "--port",
                                            str(port), "--record", str(record)))

    port = int(remembered.read_text()) if remembered.exists() else PARTNER_PORT
    if (running := process(port)).adopt():
        return running, port
    port = PARTNER_PORT if port_is_free("127.0.0.1", PARTNER_PORT) else free_port()
    remembered.write_text(str(port))
    return process(port), port


def _with_port(example: Path, copy: Path, port: int) -> Path:
    """A copy of the example in which the second system has another port."""
    shutil.copytree(example, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (*copy.glob("*.yaml"), *copy.glob("samples/*.json")):
        file.write_text(file.read_text().replace(f":{PARTNER_PORT}", f":{port}"))
    return copy


async def _start_partner(process: Process, url: str, progress: Progress) -> None:
    """Start the second system where it does not run, and wait until it answers."""
    import httpx

    if not process.running:
        progress(Step("starting the second system"))
        process.start()
    deadline = time.monotonic() + 10
    async with httpx.AsyncClient() as client:
        while time.monotonic() < deadline and process.running:
            try:
                await client.get(f"{url}/received", timeout=2)
            except httpx.HTTPError:
                await asyncio.sleep(0.05)
            else:
                return
    raise ArintError(f"the second system did not start\n{process.log_tail()}", where=str(process.log_file))


async def _feed(link: Link, arguments: DemoArguments, url: str, partner: str, change_set: int,
                progress: Progress) -> DemoResult:
    """Send every sample while the second system is away, then follow each to its end."""
    import httpx

    key = ensure_key(arguments.folder)
    samples = sorted((arguments.folder / "samples").glob("*.json"))
    deadline = time.monotonic() + arguments.timeout
    async with httpx.AsyncClient(timeout=10) as client:
        before = (await client.get(f"{partner}/received")).json()["refused"]
        if arguments.outage:
            progress(Step(f"the second system is away for {arguments.outage:g} s", done=True))
            await client.post(f"{partner}/control", json={"mode": "failing", "for": arguments.outage})
        sent = [await _send(client, url, key, sample, deadline) for sample in samples]
        progress(Step(f"{len(sent)} orders are accepted", done=True))
        stories = []
        for number, (_, message) in enumerate(sent, 1):
            progress(Step(f"waiting for order {number} of {len(sent)}"))
            stories.append(await until_settled(link, message, timeout=max(1.0, deadline - time.monotonic())))
        received = (await client.get(f"{partner}/received")).json()
    stored = await asyncio.to_thread(_in_database, link.home.data / "warehouse.db")
    orders = [_result(sample, message, story, stored, received)
              for (sample, message), story in zip(sent, stories, strict=True)]
    return DemoResult(url=url, home=str(link.home.path), folder=str(arguments.folder), change_set=change_set,
                      outage=arguments.outage, refused=received["refused"] - before, orders=tuple(orders))


async def _send(client: httpx.AsyncClient, url: str, key: str, sample: Path, deadline: float) -> tuple[Path, str]:
    """Send one sample as any system would, again until it is accepted; the key makes that safe."""
    import httpx

    body = await asyncio.to_thread(sample.read_bytes)
    headers = {"X-API-Key": key, "Idempotency-Key": f"demo-{sample.stem}", "Content-Type": "application/json"}
    last = ""
    while time.monotonic() < deadline:
        try:
            answer = await client.post(url, content=body, headers=headers)
        except httpx.HTTPError as error:
            last = str(error) or type(error).__name__
        else:
            if answer.status_code == httpx.codes.ACCEPTED:
                return sample, str(answer.json()["id"])
            last = f"{answer.status_code} {answer.text[:200]}"
            if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR and answer.status_code != httpx.codes.NOT_FOUND:
                raise ArintError(f"{sample.name} was not accepted: {last}", where=url)
        await asyncio.sleep(0.1)
    raise TimedOutError(f"{sample.name} was not accepted: {last}", where=url, remedy="arintctl status, arintctl logs")


def _result(sample: Path, message: str, story: Story, stored: set[str],
            received: dict[str, Any]) -> OrderResult:
    order = json.loads(sample.read_bytes())
    identity = str(order.get("id", ""))
    runs = len({hop.run for hop in story.hops})
    errors = [action.error for hop in story.hops if hop.state == "dead" for action in hop.attempts if action.error]
    return OrderResult(
        sample=sample.stem, order=identity, message=message, state=story.state,
        database=identity in stored, partner=arrived_rightly(identity, received["orders"], runs),
        callback=arrived_rightly(identity, received["callbacks"], runs) if order.get("reply_to") else None,
        took=max(story.ended - story.at, 0.0), error=errors[-1] if errors else "")


def arrived_rightly(identity: str, bodies: list[Any], runs: int) -> bool:
    """Whether the second system has it, and not more often than it ran: a replay rightly arrives once more. Pure."""
    return 1 <= [str(body.get("id")) for body in bodies if isinstance(body, dict)].count(identity) <= runs


def _in_database(file: Path) -> set[str]:
    """The orders that the example's database holds."""
    if not file.exists():
        return set()
    with closing(sqlite3.connect(file)) as database:
        return {str(row[0]) for row in database.execute("select id from orders")}
