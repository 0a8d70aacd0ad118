"""The IN side of HTTP: one listener a process, serving all channels.

A request is answered 202 only after the intake returned, which means that the broker has the message on disk. Every
other answer is a problem document, and means that nothing was stored.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator, MutableMapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec

from arint.errors import ArintError, ConflictError, TimedOutError, UnreachableError
from arint.message import LARGEST_BODY
from arint.meters.families import CHANNEL_DURATION, CHANNEL_REQUESTS
from arint.plugins import ChannelBinding, FullError, Intake, KeyReusedError
from plugins.http import problems
from plugins.http.documents import Documents
from plugins.http.problems import Problem
from plugins.http.routes import Route, Routes

if TYPE_CHECKING:
    from plugins.http.guard import Receive, Scope, Send, Server

_log = logging.getLogger(__name__)
_TRACEPARENT = re.compile(rb"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")
_LONGEST_KEY = 255
_LINGER_BYTES = LARGEST_BODY
_LINGER_SECONDS = 2.0
CLIENT_GONE = 499
"""As nginx counts a caller that left before it was answered."""


class HttpSource:
    """Listens on one address and serves every channel that has an `http` key."""

    def __init__(self) -> None:
        self._routes = Routes()
        self._documents = Documents()
        self._intake: Intake
        self._server: Server
        self._serving: asyncio.Task[None] | None = None
        self.port = 0
        """The port it listens on; the system's choice where `start` was given 0."""

    async def start(self, intake: Intake, *, host: str, port: int) -> None:
        """Bind and listen. Raises ConflictError when the port is taken."""
        from plugins.http.guard import server

        self._intake = intake
        listening = _bind(host, port)
        self.port = listening.getsockname()[1]
        self._server = server(self.serve)
        self._serving = asyncio.create_task(self._server.serve([listening]), name="http listener")
        while not self._server.started:
            if self._serving.done():
                await self._serving
            await asyncio.sleep(0)

    async def update(self, channels: Sequence[ChannelBinding]) -> None:
        """Serve these channels. Raises ArintError, and changes nothing, if one of them cannot be served."""
        routes = [Route(channel, self._intake.secret) for channel in channels]
        self._routes = Routes(routes)
        self._documents = Documents(channels, {route.name: route for route in routes})

    async def stop(self, grace: float) -> None:
        """Close the listening socket, let requests end within `grace` seconds, then cut what is left."""
        if self._serving is None:
            return
        self._server.config.timeout_graceful_shutdown = grace
        self._server.should_exit = True
        await self._serving
        self._server.abort_connections()
        self._serving = None

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        began = perf_counter()
        try:
            status, headers, body = await self._answer(scope, receive)
        except Problem as problem:
            _count(scope, int(problem.status), began)
            await _send_problem(problem, scope, receive, send)
        except ClientGone:
            _count(scope, CLIENT_GONE, began)
        except Exception:
            _log.exception("a request to %s failed", scope["path"])
            _count(scope, 500, began)
            await _send_problem(problems.internal(), scope, receive, send)
        else:
            _count(scope, status, began)
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        path, method = scope["path"], scope["method"]
        if method in ("GET", "HEAD") and (found := self._routes.find_status(path)) is not None:
            return await self._status(*found, dict(scope["headers"]))
        if method in ("GET", "HEAD") and not self._routes.knows(path) and (described := self._documents.find(path)):
            return _json(200, self._documents.body(described, dict(scope["headers"])), (b"cache-control", b"no-cache"))
        route = self._routes.find(path, method)
        scope["state"]["channel"] = route.name
        if route.in_flight >= route.concurrency:
            raise problems.unavailable("too many requests at once", 1)
        route.in_flight += 1
        try:
            return await self._accept(route, scope, receive)
        finally:
            route.in_flight -= 1

    async def _accept(self, route: Route, scope: Scope, receive: Receive) -> Answer:
        headers = dict(scope["headers"])
        caller = _authenticated(route, headers)
        _check_headers(route, scope["headers"], headers)
        body = await _body(route, scope, receive)
        try:
            accepted = await self._intake.accept(
                route.name, body, caller=caller,
                content_type=_text(headers, b"content-type") or "application/octet-stream",
                headers=_forwarded(route, scope["headers"]),
                idempotency_key=_text(headers, b"idempotency-key"),
                correlation_id=_text(headers, b"x-correlation-id"),
                traceparent=_traceparent(headers),
            )
        except FullError as error:
            raise problems.unavailable(f"nothing was stored: {error}", error.retry_after) from error
        except KeyReusedError as error:
            raise problems.key_reused() from error
        except (UnreachableError, TimedOutError) as error:
            raise problems.unavailable("the store does not answer", 5) from error
        return _accepted(route, accepted.message_id, accepted.repeated)

    async def _status(self, routes: list[Route], message_id: str, headers: dict[bytes, bytes]) -> Answer:
        allowed = [route for route in routes if route.auth.caller(headers) is not None]
        if not allowed:
            raise problems.unauthorized(routes[0].auth.challenge)
        try:
            found = await self._intake.status(message_id)
        except (FullError, ArintError) as error:
            raise problems.unavailable("the store does not answer", 5) from error
        # A message of another channel is none of this caller's business, not even that it exists
        if found is None or found.get("channel", allowed[0].name) not in {route.name for route in allowed}:
            raise problems.not_found("no message with this id came in here, or it is no longer kept")
        return _json(200, msgspec.json.encode(found), (b"cache-control", b"no-store"))


def _count(scope: Scope, status: int, began: float) -> None:
    """Requests that no channel takes are counted by status alone: whatever paths they try, it is one series."""
    channel = scope["state"].get("channel", "")
    CHANNEL_REQUESTS.at(channel, str(status)).add()
    CHANNEL_DURATION.at(channel).observe(perf_counter() - began)


Answer = tuple[int, list[tuple[bytes, bytes]], bytes]


class ClientGone(Exception):
    """The peer closed the connection before its request was complete."""


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise ConflictError(f"cannot listen: {error.strerror or error}", where=f"{host}:{port}",
                            remedy="end the program that listens there; or arintctl down, then up, which takes "
                                   "a free port") from error
    return listening


def _authenticated(route: Route, headers: dict[bytes, bytes]) -> str:
    caller = route.auth.caller(headers)
    if caller is None:
        raise problems.unauthorized(route.auth.challenge)
    return caller


def _check_headers(route: Route, pairs: list[tuple[bytes, bytes]], headers: dict[bytes, bytes]) -> None:
    if sum([len(name) + len(value) for name, value in pairs]) > route.largest_headers:
        raise problems.headers_too_large(route.largest_headers)
    if not 0 < len(headers.get(b"idempotency-key", b"-")) <= _LONGEST_KEY:
        raise problems.malformed(f"Idempotency-Key must have between 1 and {_LONGEST_KEY} characters")
    if len(headers.get(b"x-correlation-id", b"")) > _LONGEST_KEY:
        raise problems.malformed(f"X-Correlation-Id may have at most {_LONGEST_KEY} characters")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise problems.encoded()
    if int(headers.get(b"content-length", b"0")) > route.largest_body:
        raise problems.too_large(route.largest_body)


async def _body(route: Route, scope: Scope, receive: Receive) -> bytes | AsyncIterator[bytes]:
    """The body where it is here already; else its parts as they arrive."""
    if "complete" not in scope["state"]:
        return _parts(route, scope, receive)
    parts = [part async for part in _parts(route, scope, receive)]
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _parts(route: Route, scope: Scope, receive: Receive) -> AsyncIterator[bytes]:
    """What arrives within the channel's time and size. Only the time in which the sender is waited for counts."""
    left, size, more = route.timeout, 0, True
    loop = asyncio.get_running_loop()
    while more:
        began = loop.time()
        part = await _received(receive, left, route.timeout)
        left -= loop.time() - began
        size += len(part["body"])
        if size > route.largest_body:
            raise problems.too_large(route.largest_body)
        more = part["more_body"]
        if not more:
            scope["state"]["read"] = True
        yield part["body"]


async def _received(receive: Receive, left: float, limit: float) -> MutableMapping[str, Any]:
    try:
        async with asyncio.timeout(max(left, 0.0)):
            part = await receive()
    except TimeoutError as error:
        raise problems.too_slow(f"the request must arrive within {limit:g} seconds") from error
    if part["type"] != "http.request":
        raise ClientGone
    return part


def _text(headers: dict[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")


def _traceparent(headers: dict[bytes, bytes]) -> str:
    # W3C Trace Context: one that does not parse is as if there were none
    given = headers.get(b"traceparent", b"")
    return given.decode() if _TRACEPARENT.match(given) else ""


def _forwarded(route: Route, pairs: list[tuple[bytes, bytes]]) -> dict[str, str]:
    forwarded: dict[str, str] = {}
    for name, value in pairs:
        if name not in route.kept_back:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            forwarded[key] = f"{forwarded[key]}, {text}" if key in forwarded else text
    return forwarded


def _accepted(route: Route, message_id: str, repeated: bool) -> Answer:
    address = route.status_address(message_id)
    known = ((b"idempotency-replayed", b"true"),) if repeated else ()
    body = f'{{"id":"{message_id}","status":"{address}"}}'.encode()
    return _json(202, body, (b"location", address.encode()), *known)


def _json(status: int, body: bytes, *headers: tuple[bytes, bytes]) -> Answer:
    return status, [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers], body


async def _send_problem(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the problem.

    Where the body was not read, the connection is closed after the answer; but first what is still coming is read
    for a moment, as a close with unread bytes is a reset that may destroy the answer on its way (RFC 9112, 9.6).
    """
    unread = _has_body(scope) and not scope["state"].get("read")
    headers = problem.answer_headers() + ([(b"connection", b"close")] if unread else [])
    body = b"" if scope["method"] == "HEAD" else problem.body()
    await send({"type": "http.response.start", "status": int(problem.status), "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": unread})
    if unread:
        await _linger(receive)
        await send({"type": "http.response.body", "body": b""})


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") and value != b"0" for name, value in scope["headers"])


async def _linger(receive: Receive) -> None:
    left = _LINGER_BYTES
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            while left > 0:
                part = await receive()
                left -= len(part.get("body", b""))
                if not part.get("more_body"):
                    return
    except TimeoutError:
        return
