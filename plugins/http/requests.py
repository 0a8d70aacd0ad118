"""What a request says: who sends, what may be too much, its body, and what of it goes with the message."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from arint.answers import VARIABLE, Request
from plugins.http import problems
from plugins.http.routes import Route

if TYPE_CHECKING:
    from plugins.http.guard import Receive, Scope

_TRACEPARENT = re.compile(rb"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")
_LONGEST_KEY = 255
_MOST_PARAMETERS = 1000


class ClientGone(Exception):
    """The peer closed the connection before its request was complete."""


def authenticated(route: Route, headers: dict[bytes, bytes]) -> str:
    """The caller's name. Raises Problem 401, or 403 for one who has none of the roles."""
    caller = route.auth.caller(headers)
    if caller is None:
        raise problems.unauthorized(route.auth.challenge)
    if route.roles and not route.roles & route.auth.roles.get(caller, frozenset()):
        raise problems.forbidden()
    return caller


def check_headers(route: Route, pairs: list[tuple[bytes, bytes]], headers: dict[bytes, bytes]) -> None:
    """Raises Problem 400, 413, 415 or 431 for what is known before the body is read."""
    if sum([len(name) + len(value) for name, value in pairs]) > route.largest_headers:
        raise problems.headers_too_large(route.largest_headers)
    if not 0 < len(headers.get(b"idempotency-key", b"-")) <= _LONGEST_KEY:
        raise problems.malformed(f"Idempotency-Key must have between 1 and {_LONGEST_KEY} characters")
    if len(headers.get(b"x-correlation-id", b"")) > _LONGEST_KEY:
        raise problems.malformed(f"X-Correlation-Id may have at most {_LONGEST_KEY} characters")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise problems.encoded()
    if route.content_types and not route.takes_type(headers.get(b"content-type", b"")) and _has_body(headers):
        raise problems.wrong_type(b", ".join(sorted(route.content_types)).decode())
    if int(headers.get(b"content-length", b"0")) > route.largest_body:
        raise problems.too_large(route.largest_body)


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


def text(headers: dict[bytes, bytes], name: bytes) -> str:
    """A header as text; empty where there is none."""
    return headers.get(name, b"").decode("latin-1")


def traceparent(headers: dict[bytes, bytes]) -> str:
    """The W3C Trace Context; one that does not parse is as if there were none."""
    given = headers.get(b"traceparent", b"")
    return given.decode() if _TRACEPARENT.match(given) else ""


def forwarded(route: Route, pairs: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers that go with the message."""
    kept: dict[str, str] = {}
    for name, value in pairs:
        if name not in route.kept_back:
            key, written = name.decode("latin-1"), value.decode("latin-1")
            kept[key] = f"{kept[key]}, {written}" if key in kept else written
    return kept


async def body_of(route: Route, scope: Scope, receive: Receive) -> bytes | AsyncIterator[bytes]:
    """The body where it is here already; else its parts as they arrive."""
    if "complete" in scope["state"]:
        return await at_hand(route, scope, receive)
    return parts(route, scope, receive, route.timeout)


async def at_hand(route: Route, scope: Scope, receive: Receive) -> bytes:
    """A body that is here already, and so comes in one piece: no timer, which most requests would pay for."""
    part = await receive()
    if part["type"] != "http.request":
        raise ClientGone
    scope["state"]["read"] = True
    body: bytes = part["body"]
    if len(body) > route.largest_body:
        raise problems.too_large(route.largest_body)
    return body


async def whole(arriving: AsyncIterator[bytes]) -> bytes:
    """All parts in one."""
    gathered = [part async for part in arriving]
    return gathered[0] if len(gathered) == 1 else b"".join(gathered)


async def parts(route: Route, scope: Scope, receive: Receive, timeout: float) -> AsyncIterator[bytes]:
    """What arrives within the time and the channel's size. Only the time in which the sender is waited for counts.

    Raises ClientGone, or Problem 408 or 413.
    """
    left, size, more = timeout, 0, True
    loop = asyncio.get_running_loop()
    while more:
        began = loop.time()
        part = await _received(receive, left, timeout)
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


def request_of(route: Route, values: tuple[str, ...], scope: Scope) -> Request:
    """Method, path parameters and query parameters. Raises Problem 400 for too many of them."""
    return Request(scope["method"], dict(zip(route.parameters, values, strict=True)) if values else {},
                   _query(scope["query_string"]), route.operation)


def variables_of(route: Route, values: tuple[str, ...], scope: Scope) -> dict[str, Any] | None:
    """The same as the variable of a stored message; None where there is nothing to tell."""
    if not values and not scope["query_string"] and len(route.methods) == 1:
        return None
    request = request_of(route, values, scope)
    return {VARIABLE: {"method": request.method, "path": request.path, "query": request.query}}


def _query(text: bytes) -> dict[str, str | list[str]]:
    if not text:
        return {}
    try:
        pairs = parse_qsl(text.decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        raise problems.malformed(f"the query may have at most {_MOST_PARAMETERS} parameters") from None
    found: dict[str, str | list[str]] = {}
    for name, value in pairs:
        before = found.get(name)
        if before is None:
            found[name] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            found[name] = [before, value]
    return found
