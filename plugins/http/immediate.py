"""A request to an immediate channel: asked within its time, answered with its outcome, given up if its caller goes."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from arint import answers
from arint.errors import ArintError
from arint.plugins import FullError, Intake
from arint.resources.quantities import seconds
from plugins.http import problems
from plugins.http.problems import MESSAGE_ID, Problem
from plugins.http.requests import ClientGone, at_hand, forwarded, parts, request_of, text, traceparent, whole
from plugins.http.routes import REQUEST_TIMEOUT, Route

if TYPE_CHECKING:
    from plugins.http.guard import Receive, Scope

Answer = tuple[int, list[tuple[bytes, bytes]], bytes | AsyncIterator[bytes]]

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_WITHOUT_BODY = frozenset({204, 304})


async def answer(route: Route, values: tuple[str, ...], caller: str, intake: Intake, scope: Scope,
                 headers: dict[bytes, bytes], receive: Receive) -> Answer:
    """Status, headers, body. Raises Problem, or ClientGone."""
    loop = asyncio.get_running_loop()
    timeout = _timeout(route, headers)
    deadline = loop.time() + timeout
    connection = scope["state"]["connection"]
    connection.working = asyncio.current_task()
    try:
        body: bytes | AsyncIterator[bytes]
        if "complete" in scope["state"]:
            body = await at_hand(route, scope, receive)
        else:
            body = parts(route, scope, receive, timeout)
            if not await intake.wants_stream(route.name, timeout):
                body = await whole(body)
        found = await intake.ask(
            route.name, request_of(route, values, scope), body, timeout=max(deadline - loop.time(), 0.001),
            content_type=text(headers, b"content-type") or "application/octet-stream",
            headers=forwarded(route, scope["headers"]), caller=caller,
            correlation_id=text(headers, b"x-correlation-id"), traceparent=traceparent(headers))
    except (Problem, ClientGone):
        raise
    except Exception as error:
        if not isinstance(error, ArintError | FullError | TimeoutError):
            _log.exception("a call of %s failed [%s]", route.name, getattr(error, "message_id", ""))
        raise problems.of(error) from error
    return _told(found)


def _timeout(route: Route, headers: dict[bytes, bytes]) -> float:
    """Seconds for the whole call: the channel's, or less if the caller waits less long."""
    wanted = headers.get(REQUEST_TIMEOUT)
    if wanted is None:
        return route.timeout
    try:
        given = wanted.decode("latin-1").strip()
        limit = seconds(given if given[-1:].isalpha() else f"{given}s")
    except (ValueError, KeyError):
        limit = 0.0
    if not 0 < limit < float("inf"):
        raise problems.malformed("X-Request-Timeout is a number of seconds, or such as 500ms")
    return min(limit, route.timeout)


def _told(found: answers.Answer) -> Answer:
    headers = [(MESSAGE_ID, found.message_id.encode())]
    if found.stream is not None:
        headers.append((b"content-type", _value(found.content_type)))
    elif found.status not in _WITHOUT_BODY:
        if found.body:
            headers.append((b"content-type", _value(found.content_type)))
        headers.append((b"content-length", b"%d" % len(found.body)))
    for name, value in found.headers.items():
        if _NAME.fullmatch(name):
            headers.append((name.encode(), _value(value)))
        else:
            _log.warning("a header is left out of an answer: its name is %r", name)
    return found.status, headers, found.body if found.stream is None else found.stream


def _value(text: object) -> bytes:
    """A header's value in one line, whatever a service made of it."""
    line = str(text)
    if not line.isprintable():
        line = "".join(sign if sign.isprintable() or sign == "\t" else " " for sign in line)
    return line.encode("latin-1", "replace")
