"""The values of statements' named parameters, taken from a message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from arint.errors import RejectedError
from arint.message import Message

_MISSING = object()
_NO_ROW = object()


class Source:
    """What parameters may speak of: a message and its parsed body; one row of it, where a statement is for each."""

    __slots__ = ("_body", "_index", "_message", "_row")

    def __init__(self, message: Message, body: Any, row: Any = _NO_ROW, index: int = 0) -> None:
        self._message, self._body, self._row, self._index = message, body, row, index

    def rows(self, path: str) -> list[Source]:
        """One for each row of the list at `path`. Raises RejectedError where there is no list."""
        found = self._find(path)
        if not isinstance(found, list):
            told = "the message has no field" if found is _MISSING else "no list is in the message's field"
            raise RejectedError(f"{told} {path}", where="for_each")
        return [Source(self._message, self._body, row, index) for index, row in enumerate(found)]

    def values(self, names: Iterable[str], params: Mapping[str, str]) -> dict[str, Any]:
        """A value for each name. Raises RejectedError, naming the field but no value, where the message has none."""
        return {name: _bound(self._value(name, params.get(name, name))) for name in names}

    def _value(self, name: str, path: str) -> Any:
        value = self._find(path)
        if value is _MISSING:
            raise RejectedError(f"the message has no field {path}", where=f"parameter :{name}",
                                remedy="name another field in params, or let a step before set it")
        return value

    def _find(self, path: str) -> Any:
        root, _, rest = path.partition(".")
        known = self._root(root) if rest else _MISSING
        if known is not _MISSING:
            return _walk(known, rest)
        if self._row is _NO_ROW:
            return _walk(self._body, path)
        return self._index if path == "index" else self._row if path == "row" else _walk(self._row, path)

    def _root(self, root: str) -> Any:
        message = self._message
        match root:
            case "body":
                return self._body
            case "row" if self._row is not _NO_ROW:
                return self._row
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
