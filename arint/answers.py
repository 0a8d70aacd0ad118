"""What an immediate call comes with and ends with: the request as flows and services see it, and the answer. Pure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from arint.message import Message

STATUS = "http-status"
"""The header by which a service or a flow says the answer's status."""
VARIABLE = "request"
"""The variable (`vars.request`) that holds method, path and query parameters."""
_INNER = frozenset({STATUS, "connection", "content-length", "content-type", "date", "keep-alive", "server", "te",
                    "trailer", "transfer-encoding", "upgrade"})
_LOWEST, _HIGHEST = 200, 599
NO_CONTENT = 204


class Request(msgspec.Struct, frozen=True):
    """How the caller asked. A query parameter that came several times is a list.

    `operation` is the query of a data API that is asked for.
    """

    method: str = ""
    path: Mapping[str, str] = {}
    query: Mapping[str, str | list[str]] = {}
    operation: str = ""


def request_of(message: Message) -> Request:
    """What the message says of the request that it came with; empty where it came otherwise."""
    found = message.variables.get(VARIABLE)
    if not isinstance(found, dict):
        return Request()
    try:
        return msgspec.convert(found, Request)
    except msgspec.ValidationError:  # the flow made something else of the variable
        return Request()


class Answer(msgspec.Struct):
    """What the caller is told: `body`, or else the parts of `stream`. `headers` have names in lower case."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}
    stream: AsyncIterator[bytes] | None = None
    message_id: str = ""


def answer_of(before: Message, after: Message, *, returned: bool = True,
              stream: AsyncIterator[bytes] | None = None) -> Answer:
    """The answer that a message makes: its body, and the headers that were set or changed on the way.

    What the caller itself sent does not come back. Without a status of its own it is 200; 204 where nothing was
    `returned`, or the body is empty.
    """
    body = after.body if returned and stream is None else b""
    status, headers = 0, _NOTHING
    if after.headers is not before.headers:
        headers = {name: value for name, value in after.headers.items()
                   if before.headers.get(name) != value and name not in _INNER}
        status = _status(after.headers.get(STATUS, ""))
    if not status:
        status = 200 if body or stream is not None else NO_CONTENT
    return Answer(status, body, after.content_type, headers, stream, before.id)


_NOTHING: dict[str, Any] = {}


def _status(text: Any) -> int:
    """A status as it is written; 0 for what is none."""
    try:
        found = int(text)
    except (TypeError, ValueError):
        return 0
    return found if _LOWEST <= found <= _HIGHEST else 0
