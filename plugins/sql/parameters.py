"""The values of a statement's named parameters, taken from a message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from arint.errors import RejectedError
from arint.message import Message

_MISSING = object()


def values(names: Iterable[str], params: Mapping[str, str], message: Message, body: Any) -> dict[str, Any]:
    """A value for each name. Raises RejectedError, naming the field but no value, where the message has none."""
    return {name: _bound(_found(name, params.get(name, name), message, body)) for name in names}


def _found(name: str, path: str, message: Message, body: Any) -> Any:
    root, _, rest = path.partition(".")
    known = _roots(root, message, body) if rest else _MISSING
    value = _walk(body, path) if known is _MISSING else _walk(known, rest)
    if value is _MISSING:
        raise RejectedError(f"the message has no field {path}", where=f"parameter :{name}",
                            remedy="name another field in params, or let a step before set it")
    return value


def _roots(root: str, message: Message, body: Any) -> Any:
    match root:
        case "body":
            return body
        case "headers":
            return message.headers
        case "vars":
            return message.variables
        case "message":
            return {"id": message.id, "root": message.root, "correlation_id": message.correlation_id,
                    "channel": message.channel, "caller": message.caller, "created": message.created}
        case _:
            return _MISSING


def _walk(value: Any, path: str) -> Any:
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(part, _MISSING)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return _MISSING
    return value


def _bound(value: Any) -> Any:
    """Databases take scalars; what is nested is stored as its JSON text."""
    return msgspec.json.encode(value).decode() if isinstance(value, Mapping | list) else value
