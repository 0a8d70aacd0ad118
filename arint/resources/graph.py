"""Who refers to whom: what is referred to must exist, is not deleted while in use, and flows form no cycle.

Everything here works on resources alone and answers with data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from arint.resources.canonical import plain
from arint.resources.kinds import Resource, Variables, key_of
from arint.resources.problems import Path
from arint.resources.variables import named_in

_KINDS = {"service": "Service", "flow": "Flow", "connection": "Connection"}
_OPAQUE = frozenset({"validate", "map", "set", "log", "parse", "format", "normalize"})
"""Steps whose content is a language of its own, with words that only look like references."""


class Reference(msgspec.Struct, frozen=True):
    """`path` in a resource names `target` (`Kind/name`). `options` is the mapping of a `send` or `enrich`.

    `transport` is the one that the target must have, where only one will do.
    """

    path: Path
    target: str
    options: Any = None
    transport: str = ""


def target_of(reference: str) -> str | None:
    """`Service/price` for `service/price`; None for what is no resource (a topic), or no reference."""
    kind, _, name = reference.partition("/")
    return f"{_KINDS[kind]}/{name}" if kind in _KINDS and name else None


def references(resource: Resource) -> list[Reference]:
    """All that this resource refers to, in the order in which it is written."""
    return list(references_in(plain(resource)))


def references_in(written: Mapping[str, Any]) -> Iterator[Reference]:
    """All that a resource in its written form refers to; it need not be valid in other ways."""
    kind = written.get("kind")
    if kind in ("Channel", "Connection"):
        yield from _one(("to",), written.get("to"))
        yield from _sources(written)
        spec = {key: value for key, value in written.items() if isinstance(value, dict)}
        yield from _secrets(spec, ())
        yield from _variables(spec)
    elif kind == "Service":
        names = written.get("secrets")
        for index, name in enumerate(names if isinstance(names, list) else ()):
            yield Reference(("secrets", index), f"Secret/{name}")
        yield from _secrets(written.get("env"), ("env",))
        yield from _variables({key: written[key] for key in ("config", "env") if key in written})
    elif kind == "Flow":
        yield from _in_steps(written.get("steps"), ("steps",))


def variables_in(written: Mapping[str, Any]) -> set[str]:
    """The targets (`Variable/NAME`) that a resource in its written form declares."""
    values = written.get("values")
    return {f"Variable/{name}" for name in values} if written.get("kind") == "Variables" and isinstance(values, dict) \
        else set()


def secrets_of(resource: Resource) -> set[str]:
    """The names of the secrets that this resource needs."""
    return {found.target.partition("/")[2] for found in references(resource) if found.target.startswith("Secret/")}


def taken_from(resource: Resource) -> set[str]:
    """The names of the connections that a channel takes its messages from; it needs all that they need."""
    return {found.target.partition("/")[2] for found in references(resource)
            if found.transport and found.target.startswith("Connection/")}


def users(resources: Iterable[Resource], target: str) -> list[str]:
    """The keys of the resources that refer to `target` (`Kind/name`), itself left out."""
    return sorted(key for resource in resources
                  if (key := key_of(resource)) != target
                  and any(reference.target == target for reference in references(resource)))


def still_used(resources: Mapping[str, Resource], leaving: Iterable[str]) -> dict[str, list[str]]:
    """What of `leaving` the remaining resources still refer to, and which these are: a delete is refused for them."""
    going = set(leaving)
    staying = [resource for key, resource in resources.items() if key not in going]
    found = {target: sorted({user for one in _offered(resources, target) for user in users(staying, one)})
             for target in sorted(going)}
    return {target: keys for target, keys in found.items() if keys}


def _offered(resources: Mapping[str, Resource], key: str) -> set[str]:
    """What others may refer to when they need this resource: itself, or the variables it declares."""
    resource = resources.get(key)
    return {f"Variable/{name}" for name in resource.values} if isinstance(resource, Variables) else {key}


def cycles(referring: Mapping[str, Iterable[Reference]]) -> list[tuple[str, ...]]:
    """Every way in which flows lead back to themselves by `call` or `send`: ("Flow/a", "Flow/b", "Flow/a").

    `referring`: what each resource, by key, refers to. Every flow that can reach itself is in one of the cycles told,
    which is the shortest through its first flow.
    """
    edges = {key: sorted({found.target for found in outgoing if found.target.startswith("Flow/")})
             for key, outgoing in referring.items() if key.startswith("Flow/")}
    found: list[tuple[str, ...]] = []
    covered: set[str] = set()
    for start in sorted(edges):
        if start not in covered and (cycle := _shortest_cycle(edges, start)):
            found.append(cycle)
            covered.update(cycle)
    return found


def _shortest_cycle(edges: Mapping[str, list[str]], start: str) -> tuple[str, ...] | None:
    """The shortest way from `start` back to itself, breadth first."""
    came_from: dict[str, str] = {}
    wave = [start]
    while wave:
        following: list[str] = []
        for node in wave:
            for target in edges.get(node, ()):
                if target == start:
                    return (*_way(came_from, start, node), start)
                if target not in came_from:
                    came_from[target] = node
                    following.append(target)
        wave = following
    return None


def _way(came_from: Mapping[str, str], start: str, end: str) -> list[str]:
    way = [end]
    while way[-1] != start:
        way.append(came_from[way[-1]])
    return way[::-1]


def _one(path: Path, reference: Any, options: Any = None, transport: str = "") -> Iterator[Reference]:
    if isinstance(reference, str) and (target := target_of(reference)):
        yield Reference(path, target, options, transport)


def _sources(written: Mapping[str, Any]) -> Iterator[Reference]:
    """The connection that a channel takes its messages from: `from`, under the key of a transport that has both."""
    for transport, spec in written.items():
        if isinstance(spec, dict):
            yield from _one((transport, "from"), spec.get("from"), transport=transport)


def _secrets(value: Any, path: Path) -> Iterator[Reference]:
    """Every `{secret: name}`, however deep."""
    if isinstance(value, dict):
        if set(value) == {"secret"} and isinstance(value["secret"], str):
            yield Reference((*path, "secret"), f"Secret/{value['secret']}")
            return
        for key, item in value.items():
            yield from _secrets(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _secrets(item, (*path, index))


def _variables(value: Mapping[str, Any]) -> Iterator[Reference]:
    for path, name in named_in(value):
        yield Reference(path, f"Variable/{name}")


def _in_steps(value: Any, path: Path) -> Iterator[Reference]:
    """What steps refer to: `call`, `send`, `query`, and what stands in steps within steps, those of plugins too."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _in_steps(item, (*path, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _in_step(key, item, (*path, key))


def _in_step(key: str, item: Any, path: Path) -> Iterator[Reference]:
    if key in _OPAQUE:
        return
    if key == "call" and isinstance(item, str | dict):
        yield from _one(path, item) if isinstance(item, str) else _one((*path, "to"), item.get("to"))
    elif key == "enrich" and isinstance(item, dict):
        is_service = str(item.get("from")).startswith("service/")  # which is called: the step itself knows its keys
        yield from _one((*path, "from"), item.get("from"), None if is_service else item)
    elif key == "send" and isinstance(item, str | dict):
        yield from _one(path, item, {}) if isinstance(item, str) else _one((*path, "to"), item.get("to"), item)
    elif key == "query" and isinstance(item, dict):
        yield from _one((*path, "from"), item.get("from"), transport="sql")
    elif key == "secret" and isinstance(item, str):
        yield Reference(path, f"Secret/{item}")
    else:
        yield from _in_steps(item, path)
