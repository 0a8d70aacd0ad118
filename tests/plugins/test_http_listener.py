"""The listener, spoken to over real sockets by well-behaved and misbehaving callers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest

from arint.errors import ConflictError, NotFoundError, NotValidError
from arint.message import new_id
from arint.plugins import Accepted, ChannelBinding, FullError, KeyReusedError
from plugins.http import guard
from plugins.http.listener import HttpSource
from plugins.http.specs import HttpChannel
from tests.patience import PATIENCE


class Intake:
    """Keeps what it accepts, in memory."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[str, Any]] = {}
        self.keys: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.fails: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()

    async def accept(self, channel: str, body: bytes | AsyncIterator[bytes], *, content_type: str,
                     headers: Mapping[str, str], idempotency_key: str = "", caller: str = "",
                     correlation_id: str = "", traceparent: str = "", message_id: str = "",
                     variables: Mapping[str, Any] | None = None) -> Accepted:
        if not isinstance(body, bytes):
            body = b"".join([part async for part in body])
        self.waiting.set()
        await self.gate.wait()
        if self.fails is not None:
            raise self.fails
        if idempotency_key and (known := self.keys.get((caller, idempotency_key))):
            if known[1] != body:
                raise KeyReusedError
            return Accepted(known[0], repeated=True)
        identity = new_id()
        self.keys[caller, idempotency_key] = (identity, body)
        self.stored[identity] = {"channel": channel, "body": body, "content_type": content_type,
                                 "headers": dict(headers), "caller": caller, "correlation_id": correlation_id,
                                 "traceparent": traceparent, "variables": variables}
        return Accepted(identity)

    async def status(self, message_id: str) -> dict[str, Any] | None:
        if message_id not in self.stored:
            return None
        return {"id": message_id, "state": "accepted", "channel": self.stored[message_id]["channel"]}

    def secret(self, name: str) -> bytes:
        values = {"key": b"s3cret\n", "empty": b"\n"}
        if name not in values:
            raise NotFoundError("no such secret", where=f"Secret/{name}")
        return values[name]


class Running:
    def __init__(self, source: HttpSource, intake: Intake, client: httpx.AsyncClient) -> None:
        self.source, self.intake, self.client = source, intake, client

    async def serve(self, *channels: Mapping[str, Any]) -> None:
        await self.source.update([
            ChannelBinding(f"in-{number}", msgspec.convert(channel, HttpChannel), "flow/x")
            for number, channel in enumerate(channels)
        ])

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.source.port)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def raw(self, request: bytes) -> bytes:
        """Everything that is answered until the listener closes."""
        async with self.connection() as (reader, writer):
            writer.write(request)
            return await asyncio.wait_for(reader.read(), PATIENCE)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    source, intake = HttpSource(), Intake()
    await source.start(intake, host="127.0.0.1", port=0)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{source.port}") as client:
        running = Running(source, intake, client)
        await running.serve({"path": "/orders"})
        yield running
    await source.stop(1)


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"urn:arint:problem:{kind}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document


async def test_a_message_is_accepted_and_its_status_can_be_asked(running: Running) -> None:
    answer = await running.client.post("/orders", content=b'{"a": 1}', headers={
        "Content-Type": "application/json", "X-Correlation-Id": "c-1", "X-Own": "eins",
        "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "Cookie": "private", "Authorization": "private",
    })
    assert answer.status_code == 202
    identity = answer.json()["id"]
    assert answer.json() == {"id": identity, "status": f"/orders/messages/{identity}"}
    assert answer.headers["location"] == f"/orders/messages/{identity}"
    stored = running.intake.stored[identity]
    assert stored["body"] == b'{"a": 1}'
    assert stored["content_type"] == "application/json"
    assert stored["correlation_id"] == "c-1"
    assert stored["traceparent"].startswith("00-aaa")
    assert stored["headers"]["x-own"] == "eins"
    assert "private" not in json.dumps(stored["headers"])
    assert (await running.client.get(answer.headers["location"])).json()["state"] == "accepted"


async def test_bytes_are_untouched(running: Running) -> None:
    for body in (b"", b"\xff\x00\xfe", b"[" * 100_000, b"not json"):
        identity = (await running.client.post("/orders", content=body)).json()["id"]
        assert running.intake.stored[identity]["body"] == body


async def test_a_key_is_answered_with_the_same_message(running: Running) -> None:
    first = await running.client.post("/orders", content=b"1", headers={"Idempotency-Key": "k"})
    again = await running.client.post("/orders", content=b"1", headers={"Idempotency-Key": "k"})
    other = await running.client.post("/orders", content=b"2", headers={"Idempotency-Key": "k"})
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    problem(other, 422, "key-reused")
    for key in ("", "k" * 256):
        problem(await running.client.post("/orders", content=b"1", headers={"Idempotency-Key": key}), 400, "malformed")


async def test_what_has_no_channel_is_refused(running: Running) -> None:
    problem(await running.client.post("/elsewhere", content=b"1"), 404, "not-found")
    refused = await running.client.get("/orders")
    problem(refused, 405, "wrong-method")
    assert refused.headers["allow"] == "POST"
    problem(await running.client.get(f"/orders/messages/{new_id()}"), 404, "not-found")
    problem(await running.client.get("/orders/messages/>"), 404, "not-found")
    problem(await running.client.post(f"/orders/messages/{new_id()}", content=b"1"), 405, "wrong-method")
    assert not running.intake.stored


async def test_api_key(running: Running) -> None:
    await running.serve({"path": "/orders", "auth": {"api_key": {"secret": "key"}, "header": "X-Partner-Key"}})
    for headers in ({}, {"X-Partner-Key": "wrong"}, {"X-Partner-Key": ""}, {"X-API-Key": "s3cret"}):
        refused = await running.client.post("/orders", content=b"1", headers=headers)
        assert "s3cret" not in refused.text
        problem(refused, 401, "unauthorized")
        assert "X-Partner-Key" in refused.headers["www-authenticate"]
    right = await running.client.post("/orders", content=b"1", headers={"X-Partner-Key": "s3cret"})
    [stored] = running.intake.stored.values()
    assert stored["caller"] == "api-key"
    assert "x-partner-key" not in stored["headers"]
    problem(await running.client.get(right.headers["location"]), 401, "unauthorized")
    assert (await running.client.get(right.headers["location"], headers={"X-Partner-Key": "s3cret"})).is_success


async def test_basic(running: Running) -> None:
    await running.serve({"path": "/orders", "auth": {"basic": {"user": "anna", "password": {"secret": "key"}}}})
    for credentials in ("Basic !!", "Basic", "Bearer s3cret", "Basic " + base64.b64encode(b"anna:no").decode()):
        refused = await running.client.post("/orders", content=b"1", headers={"Authorization": credentials})
        problem(refused, 401, "unauthorized")
    assert (await running.client.post("/orders", content=b"1", auth=("anna", "s3cret"))).status_code == 202
    [stored] = running.intake.stored.values()
    assert stored["caller"] == "anna"


async def test_another_channels_message_is_not_told_of(running: Running) -> None:
    await running.serve({"path": "/open"}, {"path": "/orders"})
    identity = (await running.client.post("/orders", content=b"1")).json()["id"]
    problem(await running.client.get(f"/open/messages/{identity}"), 404, "not-found")


async def test_a_channel_that_cannot_be_served_changes_nothing(running: Running) -> None:
    key = {"api_key": {"secret": "missing"}}
    with pytest.raises(NotFoundError):
        await running.serve({"path": "/other", "auth": key})
    with pytest.raises(NotValidError, match="empty"):
        await running.serve({"path": "/other", "auth": {"api_key": {"secret": "empty"}}})
    with pytest.raises(ConflictError, match="in-0"):
        await running.serve({"path": "/other"}, {"path": "/other"})
    assert (await running.client.post("/orders", content=b"1")).status_code == 202


async def test_a_full_store_and_a_failing_one(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    running.intake.fails = FullError("the stream is full", retry_after=6.2)
    answer = await running.client.post("/orders", content=b"1")
    problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "7"
    running.intake.fails = ValueError("inner detail")
    assert "inner detail" not in problem(await running.client.post("/orders", content=b"1"), 500, "internal")["detail"]
    assert "inner detail" in caplog.text


async def test_a_large_body_is_refused_before_it_is_read(running: Running) -> None:
    await running.serve({"path": "/orders", "limits": {"body": "1KiB"}}, {"path": "/large"})
    problem(await running.client.post("/orders", content=b"x" * 1025), 413, "too-large")
    assert (await running.client.post("/orders", content=b"x" * 1024)).status_code == 202

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 500

    problem(await running.client.post("/orders", content=chunks()), 413, "too-large")
    document = problem(await running.client.post("/large", content=b"x" * (2**20 + 1)), 413, "too-large")
    assert "1048576" in document["detail"]
    assert (await running.client.post("/large", content=b"x" * 2**20)).status_code == 202
    async with running.connection() as (reader, writer):
        writer.write(b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n"
                     b"Expect: 100-continue\r\n\r\n")
        assert b" 413 " in await asyncio.wait_for(reader.readline(), PATIENCE)


async def test_a_sender_that_goes_on_after_413_still_reads_the_answer(running: Running) -> None:
    """Closing with unread bytes is a reset, which takes the answer from a caller that is still writing."""
    answer = await running.client.post("/orders", content=b"x" * 9_000_000)
    problem(answer, 413, "too-large")
    assert answer.headers["connection"] == "close"


async def test_compressed_bodies_are_refused(running: Running) -> None:
    problem(await running.client.post("/orders", content=b"1", headers={"Content-Encoding": "gzip"}), 415,
            "content-encoding")


async def test_what_is_not_http(running: Running) -> None:
    assert b" 400 " in await running.raw(b"\x16\x03\x01 hello\r\n\r\n")
    assert b" 400 " in await running.raw(b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n")
    both = (b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\n")
    assert b" 400 " in await running.raw(both)
    assert not running.intake.stored


UPGRADE = b"Upgrade: h2c\r\nConnection: close, Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"


@pytest.mark.parametrize(("more", "body"), [
    (b"Content-Length: 8\r\n\r\n", b'{"id":1}'),
    (b"Transfer-Encoding: chunked\r\n\r\n", b'8\r\n{"id":1}\r\n0\r\n\r\n'),
], ids=["length", "chunked"])
@pytest.mark.parametrize("apart", [False, True])
async def test_an_offered_protocol_is_declined_and_the_body_is_taken(running: Running, more: bytes, body: bytes, *,
                                                                     apart: bool) -> None:
    head = b"POST /orders HTTP/1.1\r\nHost: x\r\n" + UPGRADE + more
    async with running.connection() as (reader, writer):
        for part in (head, body) if apart else (head + body,):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        answer = await asyncio.wait_for(reader.read(), 10)
    assert answer.startswith(b"HTTP/1.1 202")
    (stored,) = running.intake.stored.values()
    assert stored["body"] == b'{"id":1}'


async def test_many_offers_on_one_connection(running: Running) -> None:
    offer = b"POST /orders HTTP/1.1\r\nHost: x\r\nUpgrade: x\r\nConnection: upgrade\r\nContent-Length: 1\r\n\r\n"
    last = b"POST /orders HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\n9"
    answer = await running.raw(b"".join(offer + b"%d" % (number % 9) for number in range(300)) + last)
    assert answer.count(b"HTTP/1.1 202") == 301
    bodies = [one["body"] for one in running.intake.stored.values()]
    assert bodies == [b"%d" % (number % 9) for number in range(300)] + [b"9"]


async def test_large_headers(running: Running) -> None:
    await running.serve({"path": "/orders", "limits": {"headers": "1KiB"}})
    problem(await running.client.post("/orders", content=b"1", headers={"X": "y" * 1024}), 431, "headers-too-large")
    async with running.connection() as (reader, writer):
        writer.write(b"POST /orders HTTP/1.1\r\nX: ")
        answered = asyncio.create_task(reader.readline())
        sent = 0
        while not answered.done() and sent < 2**24:
            writer.write(b"y" * 1000)
            sent += 1000
            await asyncio.wait([answered], timeout=0.001)
        assert b" 431 " in await answered
    assert sent < 2**20


async def test_headers_a_byte_at_a_time_are_cut(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard.GuardedProtocol, "headers_timeout", 0.5)
    async with running.connection() as (reader, writer):
        answered = asyncio.create_task(reader.read())
        for byte in b"POST /orders HTTP/1.1\r\nX: " + b"y" * 10_000:
            writer.write(bytes([byte]))
            if (await asyncio.wait([answered], timeout=0.02))[0]:
                break
        with contextlib.suppress(ConnectionResetError):  # a byte that crossed the close
            assert b" 408 " in await answered
        assert answered.done()


async def test_a_silent_connection_is_closed(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard.GuardedProtocol, "headers_timeout", 0.3)
    assert await running.raw(b"") == b""


async def test_a_second_request_is_held_to_the_same_deadline(running: Running,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard.GuardedProtocol, "headers_timeout", 0.5)
    answers = await running.raw(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\nPOST /orders HTTP/1.1\r\nX: y")
    assert answers.startswith(b"HTTP/1.1 404")
    async with running.connection() as (reader, writer):
        writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"}")
        writer.write(b"POST /orders HTTP/1.1\r\nX: y")
        assert b" 408 " in await asyncio.wait_for(reader.read(), PATIENCE)


async def test_a_body_a_byte_at_a_time_is_cut(running: Running) -> None:
    await running.serve({"path": "/orders", "limits": {"timeout": "300ms"}})
    async with running.connection() as (reader, writer):
        writer.write(b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        answered = asyncio.create_task(reader.readline())
        for _ in range(200):
            writer.write(b"x")
            if (await asyncio.wait([answered], timeout=0.02))[0]:
                break
        with contextlib.suppress(ConnectionResetError):  # a byte that crossed the close
            assert b" 408 " in await answered
        assert answered.done()
    assert not running.intake.stored


async def test_a_caller_that_leaves_in_the_middle_stores_nothing(running: Running) -> None:
    async with running.connection() as (_, writer):
        writer.write(b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        await writer.drain()
    assert (await running.client.post("/orders", content=b"1")).status_code == 202
    assert [message["body"] for message in running.intake.stored.values()] == [b"1"]


async def test_too_many_at_once(running: Running) -> None:
    await running.serve({"path": "/orders", "limits": {"concurrency": 1}})
    running.intake.gate.clear()
    first = asyncio.create_task(running.client.post("/orders", content=b"1"))
    await running.intake.waiting.wait()
    problem(await running.client.post("/orders", content=b"2"), 503, "unavailable")
    running.intake.gate.set()
    assert (await first).status_code == 202
    assert (await running.client.post("/orders", content=b"3")).status_code == 202


async def test_update_leaves_requests_under_way_alone(running: Running) -> None:
    running.intake.gate.clear()
    first = asyncio.create_task(running.client.post("/orders", content=b"1"))
    await running.intake.waiting.wait()
    await running.serve({"path": "/new"})
    problem(await running.client.post("/orders", content=b"1"), 404, "not-found")
    running.intake.gate.set()
    assert (await first).status_code == 202


async def test_stop_finishes_what_has_begun(running: Running) -> None:
    running.intake.gate.clear()
    first = asyncio.create_task(running.client.post("/orders", content=b"1"))
    await running.intake.waiting.wait()
    stopping = asyncio.create_task(running.source.stop(5))
    await asyncio.wait([stopping], timeout=0.3)
    assert not stopping.done()
    running.intake.gate.set()
    assert (await first).status_code == 202
    await stopping
    with pytest.raises(httpx.ConnectError):
        await running.client.post("/orders", content=b"1")


async def test_stop_ends_with_the_grace(running: Running) -> None:
    running.intake.gate.clear()
    first = asyncio.create_task(running.client.post("/orders", content=b"1"))
    await running.intake.waiting.wait()
    await asyncio.wait_for(running.source.stop(0.2), PATIENCE)
    outcome = (await asyncio.gather(first, return_exceptions=True))[0]
    assert isinstance(outcome, httpx.TransportError) or outcome.status_code >= 500
    assert not running.intake.stored


async def test_a_taken_port_is_told(running: Running) -> None:
    with pytest.raises(ConflictError, match=str(running.source.port)):
        await HttpSource().start(Intake(), host="127.0.0.1", port=running.source.port)
