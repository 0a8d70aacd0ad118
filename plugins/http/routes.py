"""Which channel a request is for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from urllib.parse import quote

from arint.answers import STATUS
from arint.calls.rate import Rate
from arint.errors import ConflictError
from arint.plugins import ChannelBinding
from arint.resources.quantities import octets, seconds
from plugins.http import problems
from plugins.http.auth import Authenticator, authenticator
from plugins.http.operations import operation_of
from plugins.http.paths import Paths, segments_of
from plugins.http.specs import HttpChannel

MESSAGES = "/messages/"
REQUEST_TIMEOUT = b"x-request-timeout"
_IDENTITY = re.compile(r"^[0-9A-HJKMNP-TV-Z]{26}$")
_HOP_BY_HOP = frozenset({
    b"connection", b"content-length", b"expect", b"host", b"keep-alive", b"proxy-authorization", b"proxy-connection",
    b"te", b"trailer", b"transfer-encoding", b"upgrade",
})
_KNOWN_BY_NAME = frozenset({b"content-type", b"idempotency-key", b"traceparent", b"x-correlation-id"})
_CREDENTIALS = frozenset({b"authorization", b"cookie"})
_OURS = frozenset({STATUS.encode(), REQUEST_TIMEOUT})


class Route:
    """One channel as requests meet it: limits in numbers, its authenticator, and how many requests it has now."""

    def __init__(self, binding: ChannelBinding, secret: Callable[[str], bytes]) -> None:
        spec: HttpChannel = binding.spec
        self.name = binding.name
        self.path = spec.path
        self.methods = spec.methods
        self.parameters = segments_of(spec.path)[1]
        self.is_immediate = binding.delivery == "immediate"
        self.content_types = frozenset(one.encode() for one in spec.content_types)
        self.rate = Rate(spec.limits.rate) if spec.limits.rate else None
        self.auth: Authenticator = authenticator(spec.auth, secret)
        operation = operation_of(binding)
        self.operation = operation.name if operation is not None else ""
        self.roles = frozenset(operation.roles if operation is not None else ())
        self.largest_body = octets(spec.limits.body)
        self.largest_headers = octets(spec.limits.headers)
        self.timeout = seconds(spec.limits.timeout)
        self.concurrency = spec.limits.concurrency
        self.in_flight = 0
        known = _KNOWN_BY_NAME - {b"idempotency-key"} if self.is_immediate else _KNOWN_BY_NAME
        self.kept_back = _HOP_BY_HOP | known | _CREDENTIALS | _OURS | {self.auth.header}
        self._status_prefix = quote(spec.path.rstrip("/")) + MESSAGES

    def status_address(self, path: str, message_id: str) -> str:
        """Where the caller, who sent to `path`, may ask what became of the message."""
        return (quote(path.rstrip("/")) + MESSAGES if self.parameters else self._status_prefix) + message_id

    def takes_type(self, content_type: bytes) -> bool:
        """May a body be of this type?"""
        if not self.content_types:
            return True
        given = content_type.partition(b";")[0].strip().lower()
        return given in self.content_types or given.partition(b"/")[0] + b"/*" in self.content_types


class Routes:
    """All channels of the listener, by path and method. Immutable: a change makes a new one."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._paths = Paths[dict[str, Route]]()
        for route in routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        methods = self._paths.get(route.path)
        if methods is None:
            self._paths.put(route.path, methods := {})
        for method in route.methods:
            if method in methods:
                raise ConflictError(f"{method} {route.path} belongs to channel {methods[method].name} already",
                                    where=f"Channel/{route.name}", remedy="give one of the two another path")
            methods[method] = route

    def knows(self, path: str) -> bool:
        """Does a channel have this path?"""
        return self._paths.find(path) is not None

    def find(self, path: str, raw: str, method: str) -> tuple[Route, tuple[str, ...]]:
        """The channel for a message, and the values of its path's parameters. Raises Problem 404 or 405."""
        found = self._paths.find(path, raw)
        if found is None:
            if self.find_status(path) is not None:
                raise problems.wrong_method("GET, HEAD")
            raise problems.not_found("no channel has this path")
        methods, values = found
        route = methods.get(method) or (methods.get("GET") if method == "HEAD" else None)
        if route is None:
            raise problems.wrong_method(", ".join([*methods, *(["HEAD"] if "GET" in methods else [])]))
        return route, values

    def find_status(self, path: str) -> tuple[list[Route], str] | None:
        """The channels and the message id of a status address; None if the path is none."""
        base, separator, message_id = path.rpartition(MESSAGES)
        if not separator or not _IDENTITY.match(message_id):
            return None
        found = self._paths.find(base) or self._paths.find(base + "/")
        routes = {route.name: route for route in found[0].values() if not route.is_immediate} if found else {}
        return (list(routes.values()), message_id) if routes else None
