"""Large bodies on the whole path, in real processes: in by HTTP, through a service, out to a database and a system."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from arint.artifacts import pack, unpack
from arint.bus import api, lookup, streams, subjects
from arint.bus.connection import Bus
from arint.bus.dead import DeadLetters
from arint.home import Home
from arint.message import StoredBody, is_away
from arint.ports import free_port
from arint.resources.manifests import Text, load_text
from arint.runtime.control import BusSettings, Orders
from tests.patience import PATIENCE
from tests.runtime.stand_in import StandInAgent
from tests.servers import NatsServer

MIB = 2**20
MANIFEST = """
kind: Connection
name: partner
http: {url: "http://127.0.0.1:PARTNER", timeout: 60s}
---
kind: Connection
name: sizes
sql:
  url: sqlite:///${ARINT_DATA}/sizes.db
  setup: ["create table if not exists sizes (id text, size integer)"]
---
kind: Service
name: grow
source: grow.py:grow
timeout: 60s
---
kind: Flow
name: files
steps:
  - call: service/grow
  - send: {to: connection/partner, path: /in}
  - send: {to: connection/sizes, statement: "insert into sizes values (:id, :size)",
           params: {id: headers.x-id, size: headers.x-id}}
retry: {attempts: 3, backoff: 50ms..200ms}
max_bytes: 1GiB
---
kind: Flow
name: narrow
steps:
  - call: service/grow
max_bytes: 4MiB
---
kind: Channel
name: files-in
http: {path: /files, limits: {body: 64MiB, timeout: 60s}}
to: flow/files
---
kind: Channel
name: narrow-in
http: {path: /narrow, limits: {body: 2MiB}}
to: flow/narrow
"""
CODE = """
from arint import Context, service

@service
def grow(body: bytes, ctx: Context) -> bytes | None:
    grow = int(ctx.message.headers.get("x-grow", "0"))
    return body + bytes(grow) if grow else None
"""


class Partner:
    """A system that takes files and answers with `answer` bytes."""

    def __init__(self) -> None:
        self.answer = 0
        self.taken: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = next((int(line.split(b":")[1]) for line in head.split(b"\r\n")
                             if line.lower().startswith(b"content-length")), 0)
                digest, left = hashlib.sha256(), size
                while left:
                    data = await reader.read(min(left, 2**18))
                    digest.update(data)
                    left -= len(data)
                if size:
                    self.taken.append(digest.hexdigest())
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.answer + bytes(self.answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


class Path_:
    """The running path."""

    def __init__(self, agent: StandInAgent, port: int, partner: Partner, bus: Bus, orders: dict[str, Orders]) -> None:
        self.agent, self.partner, self.bus, self.orders = agent, partner, bus, orders
        self.url = f"http://127.0.0.1:{port}"

    async def post(self, body: bytes, path: str = "/files", **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(timeout=60) as client:
            return await client.post(self.url + path, content=body, headers={
                name.replace("_", "-"): value for name, value in headers.items()})

    async def send(self, body: bytes, path: str = "/files", **headers: str) -> str:
        answer = await self.post(body, path, **headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def arrived(self) -> list[str]:
        file = self.agent.home.data / "sizes.db"
        if not file.exists():
            return []
        with sqlite3.connect(file) as connection:
            try:
                return [row[0] for row in connection.execute("select id from sizes order by id")]
            except sqlite3.OperationalError:
                return []

    async def dead(self, message: str) -> str:
        async with asyncio.timeout(PATIENCE):
            while True:
                for letter in await DeadLetters(self.bus).of_tree(message):
                    assert letter.message.failure is not None
                    return f"{letter.message.failure.kind}: {letter.message.failure.message}"
                await asyncio.sleep(0.05)

    def peak(self, instance: str) -> int:
        """Bytes that the process has ever had in memory."""
        status = Path(f"/proc/{self.agent.processes[instance].pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


@pytest.fixture
def failpoints() -> Iterator[dict[str, str]]:
    yield {}


@pytest.fixture
async def path(tmp_path: Path, nats_tls_server: NatsServer, failpoints: dict[str, str]) -> AsyncIterator[Path_]:
    home = Home(tmp_path / "home")
    code = tmp_path / "code"
    code.mkdir()
    (code / "grow.py").write_text(CODE)
    partner = Partner()
    listening = await asyncio.start_server(partner.serve, "127.0.0.1", 0)
    manifest = MANIFEST.replace("PARTNER", str(listening.sockets[0].getsockname()[1]))
    declared = [one.resource for one in load_text(Text("large.yaml", manifest, code))]
    by = {kind: tuple(one for one in declared if type(one).__name__ == kind)
          for kind in ("Flow", "Service", "Connection", "Channel")}
    pem = nats_tls_server.pem("worker")
    assert pem is not None
    settings = BusSettings((nats_tls_server.server,), pem.ca, pem.certificate, pem.key)
    async with StandInAgent(home) as agent, await Bus.connect(settings, name="test") as bus:
        digest, packed = pack(code / "grow.py")
        unpack(packed, home.artifact(digest), digest)
        port = free_port()
        common = {"node": "n1", "bus": settings, "home": str(home.path), "change_set": 1, "flows": by["Flow"],
                  "variables": {"ARINT_DATA": str(home.data)}, "services": by["Service"],
                  "connections": by["Connection"]}
        orders = {
            "runner-1": Orders(instance="runner-1", role="runner", **common),
            "grow-1": Orders(instance="grow-1", role="service", service=by["Service"][0],
                             code=str(home.artifact(digest)), **common),
            "http-1": Orders(instance="http-1", role="source", source="http", port=port, channels=by["Channel"],
                             **common)}
        for each in orders.values():
            await agent.start(each)
        yield Path_(agent, port, partner, bus, orders)
    listening.close()


async def test_a_large_body_goes_all_the_way_and_is_stored_once(path: Path_) -> None:
    body = os.urandom(10 * MIB + 3)
    path.partner.answer = 10 * MIB
    await path.send(body, x_id="one")
    await path.agent.until(lambda: path.arrived() == ["one"])
    assert path.partner.taken == [hashlib.sha256(body).hexdigest()]
    stored = (await streams.state(path.bus, "B-files")).size
    assert len(body) < stored < len(body) * 1.1  # the service changed nothing
    found = [one.message().body for one in await lookup.look_up(path.bus, "F-files", "m.>")]
    assert [is_away(one) for one in found] == [True, True, True]
    assert len({one.claim.name for one in found if isinstance(one, StoredBody)}) == 1


async def test_a_service_makes_a_small_body_large(path: Path_) -> None:
    await path.send(b"small", x_id="one", x_grow=str(10 * MIB))
    await path.agent.until(lambda: path.arrived() == ["one"])
    assert path.partner.taken == [hashlib.sha256(b"small" + bytes(10 * MIB)).hexdigest()]


async def test_a_service_that_makes_it_too_large_is_told_so(path: Path_) -> None:
    message = await path.send(b"small", x_id="one", x_grow=str(65 * MIB))
    assert "at most 67108864" in await path.dead(message)


async def test_more_than_the_channels_limit_is_413_and_a_full_queue_503(path: Path_) -> None:
    assert (await path.post(bytes(2 * MIB + 1), "/narrow")).status_code == 413
    await path.agent.kill("grow-1")
    statuses = [(await path.post(os.urandom(2 * MIB), "/narrow")).status_code for _ in range(4)]
    assert statuses[0] == 202
    assert statuses[-1] == 503
    refused = await path.post(os.urandom(2 * MIB), "/narrow")
    assert "full" in refused.json()["detail"]


async def test_the_same_key_with_the_same_large_body_is_one_message(path: Path_) -> None:
    body = os.urandom(MIB)
    first = await path.send(body, x_id="one", idempotency_key="k")
    assert await path.send(body, x_id="one", idempotency_key="k") == first
    other = await path.post(os.urandom(MIB), x_id="two", idempotency_key="k")
    assert other.status_code == 422
    await path.agent.until(lambda: path.arrived() == ["one"])


async def test_a_body_that_is_lost_is_a_dead_letter_that_says_so(path: Path_) -> None:
    await path.agent.kill("grow-1")
    message = await path.send(os.urandom(2 * MIB), x_id="one")
    found = (await lookup.look_up(path.bus, "F-files", subjects.tree("m", message)))[0].message().body
    assert isinstance(found, StoredBody)
    await api.call(path.bus, "STREAM.PURGE.B-files", {"filter": subjects.part(found.claim.name, 2)})
    await path.agent.start(path.orders["grow-1"])
    assert await path.dead(message) == (
        f"body lost: {found.claim.name}: the body of {2 * MIB} bytes is not in the store (any more): part 2 is missing "
        "(send it again; or dlq edit gives the dead letter another body)")


async def test_workers_killed_at_any_moment_lose_nothing_and_store_nothing_twice(path: Path_) -> None:
    wanted = {f"{number:02}": os.urandom(MIB + number) for number in range(8)}

    async def send(name: str) -> None:
        while True:  # as a sender would: until it has its yes, with its key
            try:
                if (await path.post(wanted[name], x_id=name, idempotency_key=name)).status_code == 202:
                    return
            except httpx.HTTPError:
                await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as tasks:
        for name in wanted:
            tasks.create_task(send(name))
        for instance in ("http-1", "grow-1", "runner-1", "http-1"):
            await asyncio.sleep(0.15)
            await path.agent.kill(instance)
            await path.agent.start(path.orders[instance])
    await path.agent.until(lambda: len(path.arrived()) >= len(wanted), 40)
    assert path.arrived() == sorted(wanted)  # each once
    assert set(path.partner.taken) == {hashlib.sha256(body).hexdigest() for body in wanted.values()}


async def test_many_uploads_at_once_are_never_held_in_memory(path: Path_) -> None:
    """10 uploads of 20 MiB: 200 MiB, three times over, and no process ever holds them."""
    before = {instance: path.peak(instance) for instance in path.orders}
    body = os.urandom(20 * MIB)
    began = time.monotonic()
    await asyncio.gather(*(path.send(body, x_id=f"{number:02}") for number in range(10)))
    took = time.monotonic() - began
    await path.agent.until(lambda: len(path.arrived()) == 10, 60)
    grown = {instance: (path.peak(instance) - before[instance]) // MIB for instance in path.orders}
    print(json.dumps({"uploads": took, "grown MiB": grown}))
    assert grown["http-1"] < 100
    assert grown["runner-1"] < 350
    assert grown["grow-1"] < 350
