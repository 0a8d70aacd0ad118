"""The server's protocol, guarded: a peer that sends its headers too slowly, too large, or without end is cut off.

uvicorn bounds none of these with httptools. Deadlines are looked at by one sweep for all connections, since a timer
for each request costs more than the rest of the guard together.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from plugins.http import problems

HEADERS_TIMEOUT = 10.0
"""Seconds from a connection's or request's first byte until its headers are complete."""
LARGEST_HEADERS = 64 * 2**10
"""Bytes of the request line and headers, whichever channel they are for; a channel may allow less."""
WIRE_SHARE = 8
"""Bytes on the wire for each of the content, which the channel bounds: chunks of one byte need so many."""
WIRE_SLACK = 4 * 2**20
"""Bytes that may be on the wire besides, such as what the parser holds."""
SWEEP_TICKS = 5
"""A tick is a tenth of a second."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Corked:
    """A transport that sends in one go what is written in one turn of the loop: an answer's headers with its body."""

    def __init__(self, transport: Any, loop: Any) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Send soon."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def _flush(self) -> None:
        if self._parts:
            self._transport.write(b"".join(self._parts))
            self._parts.clear()

    def close(self) -> None:
        """Send what was written, then close."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class GuardedProtocol(HttpToolsProtocol):  # type: ignore[misc]
    """uvicorn's protocol with a deadline for headers and a bound on what one request may send."""

    headers_timeout = HEADERS_TIMEOUT
    parser: Any

    def connection_made(self, transport: Any) -> None:
        """A peer that connects must begin to speak."""
        super().connection_made(Corked(transport, self.loop))
        self._due = self.loop.time() + self.headers_timeout
        self._reading_headers = False
        self._reading = self._declined = False
        self._received = self._content = 0
        self.working: asyncio.Task[Any] | None = None
        """What is to be cancelled when the peer goes."""
        self.lost = False

    def connection_lost(self, error: Exception | None) -> None:
        """The peer is gone: nobody waits for the answer."""
        self.lost = True
        super().connection_lost(error)
        if self.working is not None:
            self.working.cancel()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; count what belongs to a request that is not complete yet."""
        if not self._due and (self.cycle is None or self.cycle.response_complete):
            self._due = self.loop.time() + self.headers_timeout
        was_reading = self._reading
        self._unset_keepalive_if_required()
        self._feed(data)
        if was_reading and self._reading:
            self._received += len(data)
            if self._reading_headers and self._received > LARGEST_HEADERS:
                self.refuse(problems.headers_too_large(LARGEST_HEADERS))
            elif self._received > WIRE_SLACK + WIRE_SHARE * self._content:
                self.transport.abort()

    def _feed(self, data: bytes) -> None:
        """Parse. The parser ends a request that offers another protocol at its headers, and would drop its body."""
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserError:
                self.send_400_response("")
            except httptools.HttpParserUpgrade as offered:
                if self.parser.get_method() != b"CONNECT":
                    data = self._head_without_upgrade() + data[offered.args[0]:]
                    self.parser = httptools.HttpRequestParser(self)
                    continue
                self.send_400_response("")
            return

    def _head_without_upgrade(self) -> bytes:
        """The request's head once more, as if no other protocol was offered: a server may decline (RFC 9110, 7.8).

        Clients offer h2c by themselves with an ordinary request, such as Java's and `curl --http2`.
        """
        parser = self.parser
        lines = [b"%b %b HTTP/%b" % (parser.get_method(), self.url, parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                kept = [word for word in value.split(b",") if word.strip().lower() != b"upgrade"]
                lines.append(b"connection:" + b",".join(kept))
            elif name != b"upgrade":
                lines.append(name + b":" + value)
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self.scope["state"]["connection"] = self
        self._declined = False
        self._reading = self._reading_headers = True
        self._received = self._content = 0
        self._due = self._due or self.loop.time() + self.headers_timeout

    def on_headers_complete(self) -> None:
        """From here on the channel's own deadline holds."""
        if self.parser.should_upgrade():
            self._declined = True
            return
        self._due = 0.0
        self._reading_headers = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the content."""
        self._content += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request is here: where that is so before its handling began, no deadline is needed for it."""
        if self._declined:
            return
        self._reading = False
        self.scope["state"]["complete"] = True
        super().on_message_complete()

    def break_off(self) -> None:
        """End an answer that cannot be brought to its end, so that its reader sees that it is not whole."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP."""
        self.refuse(problems.malformed("this is not a valid HTTP request"))

    def refuse(self, problem: problems.Problem) -> None:
        """Answer and close; only close where an earlier request's answer is still on its way."""
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()
            return
        self.transport.write(problem.raw_response())
        self.transport.close()

    def cut_if_late(self, now: float) -> None:
        """Close the connection if its headers are overdue; a peer that never spoke is told nothing."""
        if not self._due or now < self._due or self.transport.is_closing():
            return
        if self._reading_headers:
            self.refuse(problems.too_slow(f"the headers must arrive within {self.headers_timeout:g} seconds"))
        else:
            self.transport.close()


class Server(uvicorn.Server):  # type: ignore[misc]
    """uvicorn's server without its signal handlers: the worker process decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the worker."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; sweeps late connections now and then."""
        if counter % SWEEP_TICKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                connection.cut_if_late(now)
        return bool(await super().on_tick(counter))

    def abort_connections(self) -> None:
        """Close what is left when the grace is over."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def server(app: App, protocol: type[GuardedProtocol] = GuardedProtocol) -> Server:
    """A server for `app` in the running loop."""
    return Server(uvicorn.Config(
        app, http=protocol, ws="none", lifespan="off", interface="asgi3", log_config=None, access_log=False,
        proxy_headers=False, server_header=False, timeout_keep_alive=30, backlog=4096,
    ))
