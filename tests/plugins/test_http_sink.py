"""The HTTP sink against a real server that answers as it is told, or does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email.utils import formatdate
from time import time
from typing import Any

import msgspec
import pytest

from arint.errors import MessageError, NotFoundError, NotValidError, RejectedError, SystemUnavailableError
from arint.message import Message
from arint.plugins import Delivery, SinkContext
from plugins.http import sink as http_sink
from plugins.http.sink import HttpSink
from plugins.http.specs import HttpConnection, HttpOptions

HANG = b"hang"


class Server:
    """Answers every request with `answer`, byte for byte, and keeps what it was sent."""

    def __init__(self) -> None:
        self.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        self.trickle = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *lines = head.decode().strip().split("\r\n")
                headers = {name.lower(): value for name, _, value in (item.partition(": ") for item in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests.append((line, headers, body))
                if self.answer == HANG:
                    await reader.read()
                await self.write(writer)
                if b"close" in self.answer or not self.answer:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def write(self, writer: asyncio.StreamWriter) -> None:
        if not self.trickle:
            writer.write(self.answer)
            return
        for byte in self.answer:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)

    def will_answer(self, status: int, body: bytes = b"", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
        self.answer = "\r\n".join(lines).encode() + body


class Setup:
    def __init__(self, server: Server, port: int) -> None:
        self.server, self.port = server, port
        self.sinks: list[HttpSink] = []

    def sink(self, **spec: Any) -> HttpSink:
        connection = msgspec.convert({"url": f"http://127.0.0.1:{self.port}", "timeout": "5s"} | spec, HttpConnection)
        sink = HttpSink(SinkContext("partner", connection, {"token": b"s3cret\n"}, "/nowhere"))
        self.sinks.append(sink)
        return sink


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    setup = Setup(server, listening.sockets[0].getsockname()[1])
    yield setup
    for sink in setup.sinks:
        await sink.close()
    listening.close()


def delivery(**options: Any) -> Delivery:
    message = Message(id="m", body=b"\xff{}", content_type="text/x", correlation_id="c", traceparent="00-tp")
    return Delivery(message, None, msgspec.convert(options, HttpOptions), "key-1", 5.0)


async def test_what_is_sent(setup: Setup) -> None:
    setup.server.will_answer(200, b'{"ok": true}')
    sink = setup.sink(headers={"X-Site": "a", "X-Both": "connection"}, auth={"bearer": {"secret": "token"}})
    answer = await sink.send(delivery(path="/in/orders", method="PUT", headers={"X-Both": "step"}))
    assert answer == b'{"ok": true}'
    [(line, headers, body)] = setup.server.requests
    assert line == "PUT /in/orders HTTP/1.1"
    assert body == b"\xff{}"
    assert headers["idempotency-key"] == "key-1"
    assert headers["content-type"] == "text/x"
    assert headers["x-correlation-id"] == "c"
    assert headers["traceparent"] == "00-tp"
    assert headers["x-site"] == "a"
    assert headers["x-both"] == "step"
    assert headers["authorization"] == "Bearer s3cret"


async def test_other_credentials(setup: Setup) -> None:
    await setup.sink(auth={"basic": {"user": "u", "password": {"secret": "token"}}}).send(delivery())
    await setup.sink(auth={"header": {"name": "X-Key", "value": {"secret": "token"}}}).send(delivery())
    assert setup.server.requests[0][1]["authorization"] == "Basic dTpzM2NyZXQ="
    assert setup.server.requests[1][1]["x-key"] == "s3cret"


async def test_connections_are_kept(setup: Setup) -> None:
    sink = setup.sink()
    for _ in range(5):
        assert await sink.send(delivery()) is None
    assert setup.server.connections == 1


@pytest.mark.parametrize("status", [408, 425, 429, 502, 503, 504])
async def test_a_system_that_is_away(setup: Setup, status: int) -> None:
    setup.server.will_answer(status, b"", "Retry-After: 7")
    with pytest.raises(SystemUnavailableError, match=f"connection/partner: answered {status}") as caught:
        await setup.sink().send(delivery())
    assert caught.value.retry_after == 7


async def test_retry_after_as_a_date_and_as_nonsense(setup: Setup) -> None:
    setup.server.will_answer(503, b"", f"Retry-After: {formatdate(time() + 60, usegmt=True)}")
    with pytest.raises(SystemUnavailableError) as caught:
        await setup.sink().send(delivery())
    assert 55 < (caught.value.retry_after or 0) < 61
    setup.server.will_answer(503, b"", "Retry-After: soon")
    with pytest.raises(SystemUnavailableError) as caught:
        await setup.sink().send(delivery())
    assert caught.value.retry_after is None


async def test_what_will_never_be_taken(setup: Setup) -> None:
    setup.server.will_answer(422, b'{"title": "Invalid", "detail": "no such article"}',
                             "Content-Type: application/problem+json")
    with pytest.raises(RejectedError, match="answered 422: no such article"):
        await setup.sink().send(delivery())
    setup.server.will_answer(404, b"secret page")
    with pytest.raises(RejectedError) as caught:
        await setup.sink().send(delivery())
    assert "secret page" not in str(caught.value)
    setup.server.will_answer(301, b"", "Location: http://elsewhere/")
    with pytest.raises(RejectedError, match="elsewhere"):
        await setup.sink().send(delivery())
    assert len(setup.server.requests) == 3


async def test_what_may_be_taken_later(setup: Setup) -> None:
    setup.server.will_answer(500)
    with pytest.raises(MessageError) as caught:
        await setup.sink().send(delivery())
    assert not isinstance(caught.value, RejectedError)


async def test_expected_statuses(setup: Setup) -> None:
    setup.server.will_answer(409)
    assert await setup.sink().send(delivery(expect=[201, 409])) is None
    setup.server.will_answer(200)
    with pytest.raises(MessageError, match="200"):
        await setup.sink().send(delivery(expect=[201]))


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nhalf",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nha",
    b"HTTP/1.1 2",
    b"",
    b"\x15\x03\x01 not HTTP, close\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nhalf",
])
async def test_half_an_answer_is_none(setup: Setup, answer: bytes) -> None:
    setup.server.answer = answer
    with pytest.raises(SystemUnavailableError):
        await setup.sink(timeout="1s").send(delivery())


async def test_no_answer(setup: Setup) -> None:
    setup.server.answer = HANG
    with pytest.raises(SystemUnavailableError, match=r"within 0\.2 seconds"):
        await setup.sink(timeout="200ms").send(delivery())
    with pytest.raises(SystemUnavailableError, match=r"within 0\.1 seconds"):
        await setup.sink().send(delivery(timeout="100ms"))
    with pytest.raises(SystemUnavailableError, match=r"within 0\.1 seconds"):
        await setup.sink().send(Delivery(delivery().message, None, HttpOptions(), "k", 0.1))


async def test_an_answer_a_byte_at_a_time(setup: Setup) -> None:
    """Each byte comes in time; the whole does not."""
    setup.server.will_answer(200, b"x" * 1000)
    setup.server.trickle = True
    with pytest.raises(SystemUnavailableError, match=r"within 0\.3 seconds"):
        await setup.sink(timeout="300ms").send(delivery())


async def test_a_large_answer(setup: Setup) -> None:
    setup.server.will_answer(200, b"x" * (600 * 1024))
    assert await setup.sink().send(delivery()) == b"x" * (600 * 1024)


async def test_an_answer_without_end(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_sink, "LARGEST_BODY", 700 * 1024)
    setup.server.will_answer(200, b"x" * (800 * 1024))
    with pytest.raises(RejectedError, match="the answer has more than"):
        await setup.sink().send(delivery())


async def test_nobody_listens(setup: Setup) -> None:
    sink = setup.sink(url="http://127.0.0.1:1")
    with pytest.raises(SystemUnavailableError):
        await sink.send(delivery())
    with pytest.raises(SystemUnavailableError):
        await sink.probe()


async def test_it_goes_on_when_the_system_is_back(setup: Setup) -> None:
    sink = setup.sink(timeout="500ms", connections=1)
    for _ in range(3):
        setup.server.answer = HANG
        with pytest.raises(SystemUnavailableError):
            await sink.send(delivery())
    setup.server.will_answer(200, b"yes")
    assert await sink.send(delivery()) == b"yes"


async def test_probe(setup: Setup) -> None:
    setup.server.will_answer(503, b"", "Retry-After: 3")
    with pytest.raises(SystemUnavailableError) as caught:
        await setup.sink(probe="/health").probe()
    assert caught.value.retry_after == 3
    assert setup.server.requests[0][0] == "GET /health HTTP/1.1"
    setup.server.answer = b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n"
    await setup.sink().probe()
    assert setup.server.requests[1][0].startswith("HEAD / ")


async def test_what_cannot_be_opened(setup: Setup) -> None:
    with pytest.raises(NotValidError, match="password"):
        setup.sink(url="http://anna:pw@127.0.0.1/")
    with pytest.raises(NotFoundError, match="no secret other"):
        setup.sink(auth={"bearer": {"secret": "other"}})
    with pytest.raises(RejectedError):
        await setup.sink(url="${UNRESOLVED}").send(delivery())


async def test_credentials_that_are_refused_are_the_systems_matter(setup: Setup) -> None:
    """A rotated key must not make a dead letter of each message that comes meanwhile."""
    setup.server.will_answer(401)
    with pytest.raises(SystemUnavailableError, match="denied: check the secret") as raised:
        await setup.sink().send(delivery())
    assert raised.value.retry_after == 30.0


async def test_what_is_forbidden_uses_an_attempt(setup: Setup) -> None:
    setup.server.will_answer(403)
    with pytest.raises(MessageError) as raised:
        await setup.sink().send(delivery())
    assert not isinstance(raised.value, RejectedError)
