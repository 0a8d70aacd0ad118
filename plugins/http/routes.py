"""Which channel a request is for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from urllib.parse import quote

from arint.errors import ConflictError
from arint.plugins import ChannelBinding
from arint.resources.quantities import octets, seconds
from plugins.http import problems
from plugins.http.auth import Authenticator, authenticator
from plugins.http.specs import HttpChannel

MESSAGES = "/messages/"
_IDENTITY = re.compile(r"^[0-9A-HJKMNP-TV-Z]{26}$")
_HOP_BY_HOP = frozenset({
    b"connection", b"content-length", b"expect", b"host", b"keep-alive", b"proxy-authorization", b"proxy-connection",
    b"te", b"trailer", b"transfer-encoding", b"upgrade",
})
_KNOWN_BY_NAME = frozenset({b"content-type", b"idempotency-key", b"traceparent", b"x-correlation-id"})
_CREDENTIALS = frozenset({b"authorization", b"cookie"})


class Route:
    """One channel as requests meet it: limits in numbers, its authenticator, and how many requests it has now."""

    def __init__(self, binding: ChannelBinding, secret: Callable[[str], bytes]) -> None:
        spec: HttpChannel = binding.spec
        self.name = binding.name
        self.path = spec.path
        self.methods = spec.methods
        self.auth: Authenticator = authenticator(spec.auth, secret)
        self.largest_body = octets(spec.limits.body)
        self.largest_headers = octets(spec.limits.headers)
        self.timeout = seconds(spec.limits.timeout)
        self.concurrency = spec.limits.concurrency
        self.in_flight = 0
        self.kept_back = _HOP_BY_HOP | _KNOWN_BY_NAME | _CREDENTIALS | {self.auth.header}
        self._status_prefix = quote(spec.path.rstrip("/")) + MESSAGES

    def status_address(self, message_id: str) -> str:
        """Where the caller may ask what became of the message."""
        return self._status_prefix + message_id


class Routes:
    """All channels of the listener, by path and method. Immutable: a change makes a new one."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._by_path: dict[str, dict[str, Route]] = {}
        for route in routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        methods = self._by_path.setdefault(route.path, {})
        for method in route.methods:
            if method in methods:
                raise ConflictError(f"{method} {route.path} belongs to channel {methods[method].name} already",
                                    where=f"Channel/{route.name}", remedy="give one of the two another path")
            methods[method] = route

    def knows(self, path: str) -> bool:
        """Does a channel have this path?"""
        return path in self._by_path

    def find(self, path: str, method: str) -> Route:
        """The channel for a message. Raises Problem 404 or 405."""
        methods = self._by_path.get(path)
        if methods is None:
            if self.find_status(path) is not None:
                raise problems.wrong_method("GET, HEAD")
            raise problems.not_found("no channel has this path")
        route = methods.get(method)
        if route is None:
            raise problems.wrong_method(", ".join(methods))
        return route

    def find_status(self, path: str) -> tuple[list[Route], str] | None:
        """The channels and the message id of a status address; None if the path is none."""
        base, separator, message_id = path.rpartition(MESSAGES)
        methods = self._by_path.get(base) or self._by_path.get(base + "/")
        if not separator or not methods or not _IDENTITY.match(message_id):
            return None
        return list({route.name: route for route in methods.values()}.values()), message_id
