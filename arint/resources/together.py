"""What resources say of each other: references that lead nowhere, options a transport does not know, cycles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from arint.plugins import transports
from arint.resources import graph
from arint.resources.checking import Mistake, mistakes
from arint.resources.problems import nearest, path_text
from arint.resources.published import queries_mistakes
from arint.resources.variables import BUILT_IN

STEP_KEYS = {"send": frozenset({"to", "into"}), "enrich": frozenset({"from", "into", "ask"})}
"""Keys of a step's mapping that belong to the step; all others are the transport's options."""


Written = Mapping[str, Any]
"""A resource as its user writes it; what is declared here may be wrong in other ways."""


def mistakes_together(declared: Mapping[str, Written],
                      existing: Mapping[str, Written]) -> Iterator[tuple[str, Mistake]]:
    """Every mistake in the declared resources, with the key (`Kind/name`) of the one in which it stands.

    References may lead to declared resources and to existing ones, which the declared ones replace.
    """
    known = {**existing, **declared}
    yield from _twice(declared, known)
    referring = {key: list(graph.references_in(written)) for key, written in known.items()}
    offered = known | {target: {} for written in known.values() for target in graph.variables_in(written)} \
        | {f"Variable/{name}": {} for name in BUILT_IN}
    yield from _gone(declared, existing, offered)
    for key in declared:
        for reference in referring[key]:
            if reference.target not in offered:
                yield key, _dangling(reference, offered)
            else:
                yield from ((key, mistake) for mistake in _unfit(reference, known.get(reference.target)))
        if isinstance(known[key].get("queries"), dict):
            yield from ((key, mistake) for mistake in queries_mistakes(known[key], known.get(_target_of(known[key]))))
    yield from _broken(declared, existing, referring)
    for cycle in graph.cycles(referring):
        yield from _cycle(cycle, declared, referring)


def _unfit(reference: graph.Reference, target: Written | None) -> Iterator[Mistake]:
    """What a reference asks of its target, and that is not so."""
    if target is None or reference.target.startswith("Variable/"):
        return
    if reference.transport and reference.transport not in target:
        yield Mistake(reference.path, f"{reference.target.replace('C', 'c', 1)} has another transport",
                      f"it must be one with the key {reference.transport}")
    elif reference.options is not None:
        yield from _options(reference, target)


def _broken(declared: Mapping[str, Written], existing: Mapping[str, Written],
            referring: Mapping[str, list[graph.Reference]]) -> Iterator[tuple[str, Mistake]]:
    """What stays as it is fitted what is declared anew, and does not fit it any more."""
    for key, written in existing.items():
        if key in declared:
            continue
        for target in sorted({reference.target for reference in referring[key]} & declared.keys()):
            asked = [reference for reference in referring[key] if reference.target == target]
            queried = isinstance(written.get("queries"), dict) and _target_of(written) == target
            now, before = (
                [mistake for reference in asked for mistake in _unfit(reference, one)]
                + (list(queries_mistakes(written, one)) if queried else [])
                for one in (declared[target], existing.get(target)))
            if now and not before:
                kind, _, name = key.partition("/")
                yield target, Mistake(("name",), f"{kind.lower()}/{name} does not fit it any more: "
                                      f"{path_text(now[0].path)}: {now[0].message}", "apply that one together with it")


def _twice(declared: Mapping[str, Written], known: Mapping[str, Written]) -> Iterator[tuple[str, Mistake]]:
    """A variable that two resources declare, or the node does."""
    owners: dict[str, list[str]] = {}
    for key, written in known.items():
        for target in graph.variables_in(written):
            owners.setdefault(target.partition("/")[2], []).append(key)
    for name, keys in owners.items():
        others = [f"also in {key}" for key in keys] + ["every node has it"] * (name in BUILT_IN)
        for key in keys:
            if len(others) > 1 and key in declared:
                why = next(other for other in others if other != f"also in {key}")
                yield key, Mistake(("values", name), f"the variable {name} is declared already", why, on_key=True)


def _gone(declared: Mapping[str, Written], existing: Mapping[str, Written],
          offered: Mapping[str, Written]) -> Iterator[tuple[str, Mistake]]:
    """A variable that is taken out of its resource while what is not declared anew still names it."""
    for key in declared:
        for target in graph.variables_in(existing.get(key, {})) - offered.keys():
            name = target.partition("/")[2]
            users = [other for other, one in existing.items() if other not in declared
                     and any(reference.target == target for reference in graph.references_in(one))]
            if users:
                yield key, Mistake(("values",), f"the variable {name} is still named by {', '.join(users)}",
                                   "keep it, or declare those anew as well")


def _target_of(channel: Written) -> str:
    return graph.target_of(str(channel.get("to"))) or ""


def _dangling(reference: graph.Reference, known: Mapping[str, Written]) -> Mistake:
    kind, _, name = reference.target.partition("/")
    names = [key.partition("/")[2] for key in known if key.startswith(f"{kind}/")]
    hint = nearest(name, names) or f"no {kind} is declared"
    if kind == "Secret":
        hint += f"; set it first: arintctl secret set {name}"
    return Mistake(reference.path, f'there is no {kind} "{name}"', hint)


def _options(reference: graph.Reference, target: Written) -> Iterator[Mistake]:
    """The further keys of a `send` or `enrich` step are checked with the transport's own type."""
    own = STEP_KEYS["enrich" if reference.path[-1] == "from" else "send"]
    options = {key: value for key, value in reference.options.items() if key not in own}
    path = reference.path[:-1] if reference.options else reference.path
    if target.get("kind") != "Connection":
        hint = "only a connection takes options"
    else:
        transport = next((found for name, found in transports().items() if name in target), None)
        if transport is None:
            return  # reported at the connection, or stored when its plugin was still installed
        if transport.options is not None:
            yield from mistakes(options, transport.options, path)
            return
        hint = f"{transport.name} takes no options"
    for key in options:
        yield Mistake((*path, key), f'unknown key "{key}"', hint, on_key=True)


def _cycle(cycle: tuple[str, ...], declared: Mapping[str, Written],
           referring: Mapping[str, list[graph.Reference]]) -> Iterator[tuple[str, Mistake]]:
    """Reported once, at the first reference of the cycle that is being declared."""
    names = " -> ".join(key.partition("/")[2] for key in cycle)
    for key, following in pairwise(cycle):
        if key in declared:
            path = next(found.path for found in referring[key] if found.target == following)
            yield key, Mistake(path, f"the flows form a cycle: {names}", "a message would go round for ever")
            return
