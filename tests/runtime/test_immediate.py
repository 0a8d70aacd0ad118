"""Immediate delivery in real processes, with a real broker: listener, sockets, services, flows, and what goes wrong."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio

from arint.artifacts import pack, unpack
from arint.bus import lookup
from arint.bus.connection import Bus
from arint.bus.subjects import CALLS, bucket_of, calls, stream_of
from arint.home import Home
from arint.ports import free_port
from arint.resources.manifests import Text, load_text
from arint.runtime.control import BusSettings, Drain, Orders, encode_line
from tests.patience import PATIENCE
from tests.runtime.stand_in import StandInAgent
from tests.servers import NatsServer

pytestmark = pytest.mark.asyncio(loop_scope="module")
MANIFEST = """
kind: Connection
name: db
sql:
  url: "sqlite:///${ARINT_DATA}/calls.db"
  setup: ["create table if not exists seen (id text)"]
---
kind: Connection
name: away
http: {url: "http://127.0.0.1:1"}
---
kind: Service
name: shop
source: shop.py:shop
timeout: 5s
---
kind: Service
name: near
source: shop.py:shop
timeout: 5s
colocate: true
replicas: 0
---
kind: Service
name: mirror
source: shop.py:mirror
---
kind: Service
name: near-mirror
source: shop.py:mirror
colocate: true
---
kind: Flow
name: later
steps: [{log: later}]
max_bytes: 4MiB
---
kind: Flow
name: order
max_bytes: 4MiB
steps:
  - validate: {schema: {type: object, required: [id]}}
  - call: service/shop
  - send: {to: connection/db, statement: "insert into seen values (:id)"}
  - send: {to: flow/later}
  - when:
      if: body.id == 'away'
      then: [{send: {to: connection/away}}]
  - try: [{call: service/shop}]
    catch: [{set: {body.caught: error.kind}}]
  - set: {headers.http-status: "201", headers.location: "'/orders/' + body.id", body.limit: vars.request.query.limit}
---
kind: Channel
name: shop
delivery: immediate
http: {path: "/shop/{id}", methods: [GET, POST, PUT, DELETE], limits: {timeout: 4s, body: 8MiB}}
to: service/shop
---
kind: Channel
name: near
delivery: immediate
http: {path: "/near/{id}", methods: [GET, POST, PUT, DELETE], limits: {timeout: 4s, body: 8MiB}}
to: service/near
---
kind: Channel
name: mirror
delivery: immediate
http: {path: /mirror, limits: {body: 8MiB}}
to: service/mirror
---
kind: Channel
name: near-mirror
delivery: immediate
http: {path: /near-mirror, limits: {body: 8MiB}}
to: service/near-mirror
---
kind: Channel
name: order
delivery: immediate
http: {path: /order}
to: flow/order
---
kind: Channel
name: few
delivery: immediate
http: {path: /few, methods: [GET], content_types: [application/json], limits: {rate: 2/m}}
to: service/shop
"""
CODE = '''
import asyncio, os, time
from collections.abc import AsyncIterator
from pathlib import Path
from arint import (ConflictError, Context, DeniedError, Message, NotFoundError, RejectedError, SystemUnavailableError,
                   service)

ERRORS = {"conflict": ConflictError("twice"), "denied": DeniedError("not you"), "nowhere": NotFoundError("no such"),
          "rejected": RejectedError("never"), "away": SystemUnavailableError("inner name"),
          "busy": SystemUnavailableError("inner name", retry_after=7), "crash": KeyError("inner secret")}

@service
async def shop(body: bytes, ctx: Context) -> object:
    what = ctx.request.path.get("id", "")
    if what in ERRORS:
        raise ERRORS[what]
    if what == "exit":
        os._exit(3)
    if what == "block":
        Path(ctx.config["marks"], "begun-block").touch()
        time.sleep(6)
        Path(ctx.config["marks"], "ended-block").touch()
    if what in ("hang", "wait"):
        Path(ctx.config.get("marks", "."), "begun-" + ctx.message.correlation_id).touch()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            Path(ctx.config.get("marks", "."), "cancelled-" + ctx.message.correlation_id).touch()
            raise
    if what == "slow":
        await asyncio.sleep(1)
    if what == "nothing":
        return None
    if what == "left":
        return {"left": round(ctx.remaining, 3)}
    if what == "made":
        return Message(body=b"<made/>", content_type="text/xml", headers={"http-status": "201", "x-own": "eins"})
    if what == "answered":
        ctx.answer(status=202, headers={"X-Own": "z\\nwei"})
    if ctx.message.channel == "order":
        import json
        given = json.loads(body)
        if given["id"] == "twice" and given.get("seen"):
            raise ConflictError("twice")
        return {**given, "seen": True}
    return {"pid": os.getpid(), "request": {"method": ctx.request.method, "path": dict(ctx.request.path),
            "query": dict(ctx.request.query)}, "size": len(body)}

@service
async def mirror(parts: AsyncIterator[bytes], ctx: Context) -> AsyncIterator[bytes]:
    ctx.answer(content_type="application/x-parts")
    size = 0
    async for part in parts:
        size += len(part)
        if part == b"stop":
            raise RuntimeError("in the middle")
        yield part
    if size == 0:
        raise RejectedError("nothing came")
'''


class Calls:
    """A running listener with services and a runner behind it."""

    def __init__(self, agent: StandInAgent, home: Home, port: int, orders: dict[str, Orders], bus: Bus) -> None:
        self.agent, self.home, self.port, self.orders, self.bus = agent, home, port, orders, bus
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE)

    async def until(self, path: str, status: int) -> httpx.Response:
        """Ask until it is answered with this status."""
        end = asyncio.get_running_loop().time() + PATIENCE
        while (found := await self.client.get(path)).status_code != status:
            assert asyncio.get_running_loop().time() < end, found.text
        return found

    async def first_line(self, request: bytes) -> int:
        """The status of the answer to raw bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        line = await asyncio.wait_for(reader.readline(), PATIENCE)
        writer.close()
        return int(line.split()[1])

    async def record(self, message_id: str) -> dict[str, Any]:
        """The record of a call, as soon as it is there."""
        end = asyncio.get_running_loop().time() + PATIENCE
        while asyncio.get_running_loop().time() < end:
            for found in await lookup.look_up(self.bus, CALLS, calls(bucket_of(message_id))):
                for line in found.body.split(b"\n"):
                    if (record := json.loads(line))["root"] == message_id:
                        return dict(record)
            await asyncio.sleep(0.05)
        raise AssertionError(f"no record of {message_id}")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, pki: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("nats"), tls=True, pki=pki, max_file_store=4 * 2**30)
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marks")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory, broker: NatsServer, marks: Path) -> AsyncIterator[Calls]:
    home = Home(tmp_path_factory.mktemp("calls") / "home")
    code = tmp_path_factory.mktemp("code")
    (code / "shop.py").write_text(CODE)
    declared = [one.resource for one in load_text(Text("calls.yaml", MANIFEST, code))]
    digest, packed = pack(code / "shop.py")
    unpack(packed, home.artifact(digest), digest)
    by = {kind: tuple(one for one in declared if type(one).__name__ == kind)
          for kind in ("Flow", "Service", "Connection", "Channel")}
    services = {one.name: msgspec.structs.replace(one, code=digest, config={"marks": str(marks)})
                for one in by["Service"]}
    pem = broker.pem("worker")
    assert pem is not None
    settings = BusSettings((broker.server,), pem.ca, pem.certificate, pem.key)
    port = free_port()
    common: dict[str, Any] = {
        "node": "n1", "bus": settings, "home": str(home.path), "change_set": 1, "flows": by["Flow"],
        "variables": {"ARINT_DATA": str(home.data)}, "services": tuple(services.values()),
        "connections": by["Connection"]}
    named = {f"{name}-1": Orders(instance=f"{name}-1", role="service", service=services[name], **common)
             for name in ("shop", "mirror")}
    named["shop-2"] = Orders(instance="shop-2", role="service", service=services["shop"], **common)
    named["runner-1"] = Orders(instance="runner-1", role="runner", **common)
    named["http-1"] = Orders(instance="http-1", role="source", source="http", port=port, channels=by["Channel"],
                             **common)
    async with StandInAgent(home) as agent, await Bus.connect(settings, name="test") as bus:
        for instance in ("shop-1", "mirror-1", "runner-1", "http-1"):
            await agent.start(named[instance], wait=False)
        for instance in ("shop-1", "mirror-1", "runner-1", "http-1"):
            await agent.state(instance, "ready", 60)
        calls = Calls(agent, home, port, named, bus)
        async with calls.client:
            yield calls


async def test_requests_and_their_answers(running: Calls) -> None:
    for path in ("shop", "near"):
        found = await running.client.get(f"/{path}/a%2Fb?limit=10&tag=x&tag=y", headers={"X-Correlation-Id": "c"})
        assert found.status_code == 200, found.text
        pid = found.json().pop("pid")
        assert (pid == running.agent.processes["http-1"].pid) is (path == "near")
        assert found.json()["request"] == {"method": "GET", "path": {"id": "a/b"},
                                           "query": {"limit": "10", "tag": ["x", "y"]}}
        assert found.headers["content-type"] == "application/json"
        made = await running.client.put(f"/{path}/made", content=b"x", headers={"X-Theirs": "1"})
        assert (made.status_code, made.content, made.headers["x-own"]) == (201, b"<made/>", "eins")
        assert made.headers["content-type"] == "text/xml"
        assert "x-theirs" not in made.headers and "http-status" not in made.headers
        answered = await running.client.get(f"/{path}/answered", headers={"http-status": "500"})
        assert (answered.status_code, answered.headers["x-own"]) == (202, "z wei")
        gone = await running.client.delete(f"/{path}/nothing")
        assert (gone.status_code, gone.content) == (204, b"")
        head = await running.client.head(f"/{path}/x")
        assert head.status_code == 200 and not head.content and int(head.headers["content-length"]) > 10
        large = await running.client.post(f"/{path}/x", content=b"x" * 5_000_000)
        assert large.json()["size"] == 5_000_000
        record = await running.record(found.headers["x-message-id"])
        assert (record["outcome"], record["status"], record["channel"]) == ("answered", 200, path)


@pytest.mark.parametrize(("what", "status", "kind", "words"), [
    ("rejected", 422, "rejected", "never"), ("nowhere", 404, "not-found", "no such"),
    ("conflict", 409, "conflict", "twice"), ("denied", 403, "denied", "not you"),
    ("away", 502, "system-unavailable", ""), ("busy", 503, "unavailable", ""),
    ("crash", 500, "failed", ""),
])
async def test_errors(running: Calls, what: str, status: int, kind: str, words: str) -> None:
    for path in ("shop", "near"):
        found = await running.client.get(f"/{path}/{what}")
        assert found.status_code == status, found.text
        assert found.headers["content-type"] == "application/problem+json"
        assert found.json()["type"] == f"urn:arint:problem:{kind}"
        assert "inner" not in found.text
        assert words in found.json()["detail"]
        if what == "busy":
            assert found.headers["retry-after"] == "7"
        record = await running.record(found.headers["x-message-id"])
        assert (record["status"], bool(record["error"])) == (status, True)
    log = running.home.log_file("shop-1").read_text()
    assert ("inner secret" in log) is (what == "crash")


async def test_refusals_before_anybody_is_asked(running: Calls) -> None:
    assert (await running.client.patch("/shop/x")).status_code == 405
    assert (await running.client.get("/shop/")).status_code == 404
    assert (await running.client.get("/shop/x?" + "&".join(f"a{n}=1" for n in range(2000)))).status_code == 400
    assert await running.first_line(b"GET /shop/x?q=" + b"y" * 200_000) == 431
    assert await running.first_line(b"POST /shop/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n") == 413
    assert (await running.client.get("/shop/x", headers={"X-Request-Timeout": "soon"})).status_code == 400
    wrong = await running.client.request("GET", "/few", content=b"x", headers={"Content-Type": "text/plain"})
    assert (wrong.status_code, wrong.headers["accept"]) == (415, "application/json")
    assert [(await running.client.get("/few")).status_code for _ in range(3)] == [200, 200, 429]
    assert int((await running.client.get("/few")).headers["retry-after"]) > 20
    malformed = await running.client.post("/order", content=b"{")
    assert (malformed.status_code, malformed.json()["type"]) == (400, "urn:arint:problem:malformed")
    assert (await running.client.post("/order", json={})).status_code == 422


async def test_deadlines_travel_and_end_the_work(running: Calls, marks: Path) -> None:
    for path in ("shop", "near"):
        left = (await running.client.get(f"/{path}/left", headers={"X-Request-Timeout": "3"})).json()["left"]
        assert 0 < left <= 3
        assert (await running.client.get(f"/{path}/left", headers={"X-Request-Timeout": "60"})).json()["left"] <= 4
        late = await running.client.get(f"/{path}/wait", headers={"X-Request-Timeout": "1",
                                                                  "X-Correlation-Id": f"late-{path}"})
        assert late.status_code == 504
        await running.agent.until(lambda path=path: (marks / f"cancelled-late-{path}").exists())


async def test_a_caller_who_leaves_takes_the_work_with_it(running: Calls, marks: Path) -> None:
    for path in ("shop", "near"):
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(f"GET /{path}/wait HTTP/1.1\r\nHost: x\r\nX-Correlation-Id: gone-{path}\r\n\r\n".encode())
        await running.agent.until(lambda path=path: (marks / f"begun-gone-{path}").exists())
        writer.transport.abort()
        await running.agent.until(lambda path=path: (marks / f"cancelled-gone-{path}").exists())
    assert "CancelledError" not in running.home.log_file("http-1").read_text()


async def test_bodies_in_parts(running: Calls) -> None:
    async def given() -> AsyncIterator[bytes]:
        for number in range(100):
            yield b"%08d" % number * 8000

    for path in ("/mirror", "/near-mirror"):
        found = await running.client.post(path, content=given())
        assert found.status_code == 200
        assert found.content == b"".join([b"%08d" % number * 8000 for number in range(100)])
        assert found.headers["content-type"] == "application/x-parts"
        assert found.headers["transfer-encoding"] == "chunked"
        record = await running.record(found.headers["x-message-id"])
        assert record["answered"] == 6_400_000
        assert (await running.client.post(path)).status_code == 422
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n".encode()
        assert await running.first_line(head) == 413


async def test_a_stream_goes_as_it_comes_and_breaks_off_visibly(running: Calls) -> None:
    for path in ("/mirror", "/near-mirror"):
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"first\r\n"), PATIENCE)
        assert b"200 OK" in head
        writer.write(b"4\r\nmore\r\n")
        assert b"more" in await asyncio.wait_for(reader.readuntil(b"more\r\n"), PATIENCE)
        writer.write(b"4\r\nstop\r\n")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), PATIENCE)
        writer.close()


async def test_a_flow_is_run_whole_before_the_answer(running: Calls) -> None:
    found = await running.client.post("/order?limit=5", json={"id": "a"})
    assert found.status_code == 201, found.text
    assert found.json() == {"id": "a", "seen": True, "limit": "5"}
    assert found.headers["location"] == "/orders/a"
    with sqlite3.connect(running.home.data / "calls.db") as database:
        assert database.execute("select id from seen").fetchall() == [("a",)]
    identity = found.headers["x-message-id"]
    [stored] = await lookup.look_up(running.bus, stream_of("later"), f"m.{identity}.>")
    assert stored.message().cause == identity
    caught = await running.client.post("/order?limit=5", json={"id": "twice"})
    assert caught.json()["caught"] == "conflict"


async def test_a_flow_whose_system_is_away_says_so_and_opens_its_circuit(running: Calls) -> None:
    statuses = [(await running.client.post("/order?limit=1", json={"id": "away"})).status_code for _ in range(2)]
    assert statuses == [502, 503]
    await running.agent.until(lambda: "away" in running.agent.beats["runner-1"].circuits)


async def test_an_instance_that_ends_in_a_call(running: Calls, marks: Path) -> None:
    waiting = asyncio.create_task(running.client.get("/shop/wait", headers={"X-Correlation-Id": "lost"}))
    await running.agent.until((marks / "begun-lost").exists)
    lost = await running.client.get("/shop/exit")
    assert (lost.status_code, lost.json()["type"]) == (502, "urn:arint:problem:lost")
    assert (await waiting).status_code == 502
    nobody = await running.until("/shop/x", 503)  # a busy broker may take a moment to see who has gone
    assert "retry-after" in nobody.headers
    await running.agent.start(running.orders["shop-1"])
    await running.until("/shop/x", 200)


async def test_an_instance_that_hangs_costs_its_callers_their_time_and_no_more(running: Calls, marks: Path) -> None:
    hung = asyncio.create_task(running.client.get("/shop/block", headers={"X-Request-Timeout": "1"}))
    await running.agent.until((marks / "begun-block").exists)
    behind = await running.client.get("/shop/x", headers={"X-Request-Timeout": "500ms"})
    assert behind.status_code == 504
    assert (await hung).status_code == 504
    assert not (marks / "ended-block").exists(), "answered only when the call had ended"
    assert (await running.client.get("/near/x")).status_code == 200


async def test_what_could_not_be_answered_in_time_is_refused_at_once(running: Calls) -> None:
    limits = httpx.Limits(max_connections=400, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=running.client.base_url, timeout=PATIENCE, limits=limits) as crowd:
        waiting = [asyncio.create_task(crowd.get("/shop/slow", headers={"X-Request-Timeout": "3"}))
                   for _ in range(400)]
        refused: list[httpx.Response] = []
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while not refused and loop.time() < end:  # 400 wait for 64 a second
            found = await running.client.get("/shop/slow", headers={"X-Request-Timeout": "1"})
            if found.status_code == 503:
                refused.append(found)
        assert refused, "nothing was refused"
        assert int(refused[0].headers["retry-after"]) >= 1
        assert (await running.record(refused[0].headers["x-message-id"]))["took"] < 1
        await asyncio.gather(*waiting)
    assert (await running.client.get("/shop/x")).status_code == 200


async def test_no_request_fails_while_instances_are_replaced(running: Calls) -> None:
    statuses: list[int] = []
    ended = False

    async def caller() -> None:
        while not ended:
            statuses.append((await running.client.get("/shop/x")).status_code)

    callers = [asyncio.create_task(caller()) for _ in range(16)]
    for leaving, coming in (("shop-1", "shop-2"), ("shop-2", "shop-1")):
        await running.agent.start(running.orders[coming])
        before = len(statuses)
        await running.agent.until(lambda before=before: len(statuses) > before + 200)
        running.agent._writers[leaving].write(encode_line(Drain(5.0)))
        await asyncio.wait_for(running.agent.processes[leaving].wait(), PATIENCE)
        before = len(statuses)
        await running.agent.until(lambda before=before: len(statuses) > before + 200)
    ended = True
    await asyncio.gather(*callers)
    assert set(statuses) == {200}
    assert not list((running.home.run / "calls").glob("service.shop-2"))


async def test_strangers_on_the_socket_are_cut_off(running: Calls) -> None:
    path = str(running.home.run / "calls" / "service.shop-1")
    assert Path(path).stat().st_mode & 0o777 == 0o600
    for noise in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100, b"\x05\x00\x00\x00\x93\x01\x02\x03\x04",
                  b"\x01\x00\x00\x00\xc1", b"\x02\x00\x00\x00\x92\x08"):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(noise)
        await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
    _, silent = await asyncio.open_unix_connection(path)
    assert (await running.client.get("/shop/x")).status_code == 200
    silent.close()


async def test_without_an_instance_here_another_is_asked_over_the_bus(running: Calls) -> None:
    (running.home.run / "calls" / "service.shop-1").unlink()
    (running.home.run / "calls" / "runner.runner-1").unlink()
    await running.agent.kill("http-1")
    await running.agent.start(running.orders["http-1"])
    assert (await running.client.get("/shop/x")).status_code == 200
    assert (await running.client.get("/shop/conflict")).status_code == 409
    assert (await running.client.get("/shop/hang", headers={"X-Request-Timeout": "0.3"})).status_code == 504
    assert (await running.client.post("/order?limit=5", json={"id": "b"})).status_code == 201
