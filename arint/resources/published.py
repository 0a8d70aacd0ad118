"""What a channel publishes of a connection: are its queries written rightly, and whom do they let in?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec

from arint.plugins import Operation, Transport, load, transports
from arint.resources.checking import Mistake, mistakes
from arint.resources.kinds import Channel, Connection, Name
from arint.resources.problems import Path, nearest

_NAMES = Annotated[dict[Name, Any], msgspec.Meta(max_length=200)]


def queries_of(channel: Channel, transport: str) -> Mapping[str, Any]:
    """The channel's queries as the transport's own structs. Raises msgspec.ValidationError."""
    known = transports().get(transport)
    if known is None or known.queries is None:
        return {}
    kind: Any = known.queries
    return {name: msgspec.convert(query, kind) for name, query in channel.queries.items()}


def operations_of(channel: Channel, connection: Connection | None) -> tuple[Operation, ...]:
    """What callers may ask of the channel; nothing, where it publishes nothing."""
    if not channel.queries or connection is None:
        return ()
    found: tuple[Operation, ...] = load(transports()[connection.transport].api)().operations(
        queries_of(channel, connection.transport))
    return found


def queries_mistakes(channel: Mapping[str, Any], connection: Mapping[str, Any] | None) -> Iterator[Mistake]:
    """All that is wrong with a channel's queries; its connection is known, or the mistake is told elsewhere."""
    queries = channel["queries"]
    found = mistakes(queries, _NAMES, ("queries",))
    transport = _transport_of(connection)
    if connection is None or found:
        yield from found
        return
    if transport is None or transport.queries is None:
        yield Mistake(("queries",), f"{channel.get('to')} can publish nothing", "it must be a database: sql")
        return
    right = True
    for name, query in queries.items():
        for mistake in mistakes(query, transport.queries, ("queries", name)):
            right = False
            yield mistake
    yield from _of_the_transport(channel)
    if right:
        kind: Any = transport.queries
        known = {name: msgspec.convert(query, kind) for name, query in queries.items()}
        yield from _of_operations(channel, load(transport.api)().operations(known))


def _transport_of(connection: Mapping[str, Any] | None) -> Transport | None:
    return next((one for name, one in transports().items() if connection and name in connection), None)


def _of_the_transport(channel: Mapping[str, Any]) -> Iterator[Mistake]:
    for name in transports():
        spec = channel.get(name)
        if isinstance(spec, dict) and "methods" in spec:
            yield Mistake((name, "methods"), "each query has a method of its own", "leave it out here", on_key=True)


def _of_operations(channel: Mapping[str, Any], operations: tuple[Operation, ...]) -> Iterator[Mistake]:
    """Two at one address; roles that nobody has."""
    taken: dict[tuple[str, ...], str] = {}
    roles = _roles(channel)
    for operation in operations:
        path: Path = ("queries", operation.name)
        address = (operation.method, *("{}" if part.startswith("{") else part
                                       for part in operation.path.strip("/").split("/")))
        if address in taken:
            yield Mistake((*path, "path"), f"{operation.method} {operation.path or '/'} belongs to {taken[address]} "
                          "already", "give one of the two another path or method")
        taken.setdefault(address, operation.name)
        for index, role in enumerate(operation.roles):
            if role not in roles:
                yield Mistake((*path, "roles", index), f'nobody has the role "{role}"', nearest(role, roles)
                              or "give it to a key: auth: {keys: [{name: …, key: {secret: …}, roles: […]}]}")


def _roles(channel: Mapping[str, Any]) -> set[str]:
    """The roles that the channel's keys have."""
    found: set[str] = set()
    for name in transports():
        spec = channel.get(name)
        auth = spec.get("auth") if isinstance(spec, dict) else None
        keys = auth.get("keys") if isinstance(auth, dict) else None
        for key in keys if isinstance(keys, list) else ():
            if isinstance(key, dict) and isinstance(key.get("roles"), list):
                found.update(role for role in key["roles"] if isinstance(role, str))
    return found
