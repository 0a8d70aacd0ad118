"""What resources say of each other: references that lead nowhere, options a transport does not know, cycles."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise

from arint.plugins import transports
from arint.resources import graph
from arint.resources.checking import Mistake, mistakes
from arint.resources.kinds import Connection, Resource
from arint.resources.problems import nearest

STEP_KEYS = frozenset({"to"})
"""Keys of a `send` step's mapping that belong to the step; all others are the transport's options."""


def mistakes_together(declared: Mapping[str, Resource], known: Mapping[str, Resource],
                      broken: Collection[str] = ()) -> Iterator[tuple[str, Mistake]]:
    """Every mistake, with the key of the declared resource in which it stands.

    `known` holds all there will be: the declared ones and those that exist already. Both by key, `Kind/name`. What
    refers to `broken` keys is not reported: they are declared, though not rightly.
    """
    for key, resource in declared.items():
        for reference in graph.references(resource):
            if reference.target in broken:
                continue
            if reference.target not in known:
                yield key, _dangling(reference, known)
            elif reference.options is not None:
                yield from ((key, mistake) for mistake in _options(reference, known[reference.target]))
    for cycle in graph.cycles(known):
        yield from _cycle(cycle, declared)


def _dangling(reference: graph.Reference, known: Mapping[str, Resource]) -> Mistake:
    kind, _, name = reference.target.partition("/")
    names = [key.partition("/")[2] for key in known if key.startswith(f"{kind}/")]
    return Mistake(reference.path, f'there is no {kind} "{name}"', nearest(name, names) or f"no {kind} is declared")


def _options(reference: graph.Reference, target: Resource) -> Iterator[Mistake]:
    """The further keys of a `send` step are checked with the transport's own type."""
    options = {key: value for key, value in reference.options.items() if key not in STEP_KEYS}
    path = reference.path[:-1] if reference.options else reference.path
    if not isinstance(target, Connection):
        for key in options:
            yield Mistake((*path, key), f'unknown key "{key}"', "only a connection takes options", on_key=True)
        return
    transport = transports().get(target.transport)
    if transport is None:
        return  # reported at the connection, or stored when its plugin was still installed
    if transport.options is not None:
        yield from mistakes(options, transport.options, path)
        return
    for key in options:
        yield Mistake((*path, key), f'unknown key "{key}"', f"{target.transport} takes no options", on_key=True)


def _cycle(cycle: tuple[str, ...], declared: Mapping[str, Resource]) -> Iterator[tuple[str, Mistake]]:
    """Reported once, at the first reference of the cycle that is being declared."""
    names = " -> ".join(key.partition("/")[2] for key in cycle)
    for key, following in pairwise(cycle):
        if key in declared:
            path = next(found.path for found in graph.references(declared[key]) if found.target == following)
            yield key, Mistake(path, f"the flows form a cycle: {names}", "a message would go round for ever")
            return
