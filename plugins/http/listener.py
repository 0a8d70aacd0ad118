"""The IN side of HTTP: one listener a process, serving all channels.

A request to a guaranteed channel is answered 202 only after the intake returned, which means that the broker has the
message on disk. Every other answer of such a channel is a problem document, and means that nothing was stored. For
immediate channels see `plugins.http.immediate`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec

from arint.calls.streams import close
from arint.errors import ArintError, ConflictError, TimedOutError, UnreachableError
from arint.message import LARGEST_BODY
from arint.meters.families import CHANNEL_DURATION, CHANNEL_REQUESTS
from arint.plugins import ChannelBinding, FullError, Intake, KeyReusedError
from plugins.http import problems
from plugins.http.documents import Documents
from plugins.http.immediate import Answer, answer
from plugins.http.operations import addresses
from plugins.http.problems import Problem
from plugins.http.requests import (
    ClientGone,
    authenticated,
    body_of,
    check_headers,
    forwarded,
    text,
    traceparent,
    variables_of,
)
from plugins.http.routes import Route, Routes

if TYPE_CHECKING:
    from plugins.http.guard import Receive, Scope, Send, Server

_log = logging.getLogger(__name__)
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
        routes = [Route(address, self._intake.secret) for address in addresses(channels)]
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
        state = scope["state"]
        try:
            await self._serve(scope, receive, send)
        except asyncio.CancelledError:
            if not _is_gone(scope):
                raise
        finally:
            state["connection"].working = None
            if "route" in state:
                state["route"].in_flight -= 1

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        try:
            status, headers, body = await self._answer(scope, receive)
        except Problem as problem:
            _count(scope, int(problem.status), began)
            await _send_problem(problem, scope, receive, send)
        except asyncio.CancelledError:
            _count(scope, CLIENT_GONE, began)
            raise
        except ClientGone:
            _count(scope, CLIENT_GONE, began)
        except Exception:
            _log.exception("a request to %s failed", scope["path"])
            _count(scope, 500, began)
            await _send_problem(problems.internal(), scope, receive, send)
        else:
            _count(scope, status, began)
            await send({"type": "http.response.start", "status": status, "headers": headers})
            if isinstance(body, bytes):
                await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
            else:
                await _send_stream(body, scope, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        path, method = scope["path"], scope["method"]
        if method in ("GET", "HEAD") and (found := self._routes.find_status(path)) is not None:
            return await self._status(*found, dict(scope["headers"]))
        if method in ("GET", "HEAD") and not self._routes.knows(path) and (described := self._documents.find(path)):
            return _json(200, self._documents.body(described, dict(scope["headers"])), (b"cache-control", b"no-cache"))
        route, values = self._routes.find(path, scope["raw_path"].decode("latin-1"), method)
        scope["state"]["channel"] = route.name
        if route.in_flight >= route.concurrency:
            raise problems.unavailable("too many requests at once", 1)
        route.in_flight += 1
        scope["state"]["route"] = route
        headers = dict(scope["headers"])
        caller = authenticated(route, headers)
        check_headers(route, scope["headers"], headers)
        if route.rate is not None and (wait := route.rate.refused_for(asyncio.get_running_loop().time())):
            raise problems.too_many(wait)
        if route.is_immediate:
            return await answer(route, values, caller, self._intake, scope, headers, receive)
        return await self._accept(route, values, caller, scope, headers, receive)

    async def _accept(self, route: Route, values: tuple[str, ...], caller: str, scope: Scope,
                      headers: dict[bytes, bytes], receive: Receive) -> Answer:
        body = await body_of(route, scope, receive)
        try:
            accepted = await self._intake.accept(
                route.name, body, caller=caller,
                content_type=text(headers, b"content-type") or "application/octet-stream",
                headers=forwarded(route, scope["headers"]),
                idempotency_key=text(headers, b"idempotency-key"),
                correlation_id=text(headers, b"x-correlation-id"),
                traceparent=traceparent(headers),
                variables=variables_of(route, values, scope),
            )
        except FullError as error:
            raise problems.unavailable(f"nothing was stored: {error}", error.retry_after) from error
        except KeyReusedError as error:
            raise problems.key_reused() from error
        except (UnreachableError, TimedOutError) as error:
            raise problems.unavailable("the store does not answer", 5) from error
        return _accepted(route, scope["path"], accepted.message_id, accepted.repeated)

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


def _accepted(route: Route, path: str, message_id: str, repeated: bool) -> Answer:
    address = route.status_address(path, message_id)
    known = ((b"idempotency-replayed", b"true"),) if repeated else ()
    body = f'{{"id":"{message_id}","status":"{address}"}}'.encode()
    return _json(202, body, (b"location", address.encode()), *known)


def _json(status: int, body: bytes, *headers: tuple[bytes, bytes]) -> Answer:
    return status, [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers], body


async def _send_stream(body: AsyncIterator[bytes], scope: Scope, send: Send) -> None:
    """The parts as they are made, no faster than the caller reads them; a body that breaks off ends the connection."""
    try:
        if scope["method"] != "HEAD":
            async for part in body:
                if _is_gone(scope):
                    return
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    except Exception as error:  # whatever the service raises: the answer cannot be taken back
        _log.warning("an answer of %s breaks off: %s", scope["path"], error)
        scope["state"]["connection"].break_off()
    finally:
        await close(body)


def _is_gone(scope: Scope) -> bool:
    return bool(scope["state"]["connection"].lost)


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
