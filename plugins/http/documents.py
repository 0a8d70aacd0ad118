"""The OpenAPI documents that the listener itself serves: of all channels, and of each.

They respect credentials: whoever asks is told of the channels that are open, and of those whose credentials came along.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from arint.plugins import ChannelBinding
from plugins.http import problems
from plugins.http.openapi import document
from plugins.http.routes import Route

ALL = "/openapi.json"
ONE = "/openapi/{name}.json"


class Documents:
    """Immutable, but for what was written once: a change of channels makes a new one."""

    def __init__(self, channels: Iterable[ChannelBinding] = (), routes: Mapping[str, Route] | None = None) -> None:
        self._channels = {one.name: one for one in channels if one.spec.openapi is not False}
        self._routes = routes or {}
        self._addresses = {one.spec.openapi if isinstance(one.spec.openapi, str) else ONE.format(name=name): name
                           for name, one in self._channels.items()}
        self._written: dict[tuple[str, ...], bytes] = {}

    def find(self, path: str) -> tuple[str, ...] | None:
        """The names of the channels that are described there; None where no document is."""
        if path == ALL and self._channels:
            return tuple(self._channels)
        name = self._addresses.get(path)
        return None if name is None else (name,)

    def body(self, names: tuple[str, ...], headers: Mapping[bytes, bytes]) -> bytes:
        """The document of those that the caller may know of. Raises Problem 401 where that is none."""
        allowed = tuple(name for name in names if self._routes[name].auth.caller(headers) is not None)
        if not allowed:
            raise problems.unauthorized(self._routes[names[0]].auth.challenge)
        if allowed not in self._written:
            made = document([self._channels[name] for name in allowed])
            if len(self._written) > len(self._channels):  # each set of credentials has a document of its own
                self._written.clear()
            self._written[allowed] = msgspec.json.encode(made)
        return self._written[allowed]
