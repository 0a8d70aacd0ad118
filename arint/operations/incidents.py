"""What went wrong between two looks at the cluster. Pure: two overviews in, failures out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from arint.operations.overview import Failure, identity

if TYPE_CHECKING:
    from arint.operations.overview import EngineView, FailureKind, InstanceView, Overview

_LOST = {"away": "the node is away", "silent": "its agent does not answer"}


def incidents(now: Overview, before: Overview | None) -> Iterator[Failure]:
    """Failures that are new since `before`; without one, those that stand."""
    yield from _of_nodes(now, {one.node: one.state for one in before.nodes} if before else {})
    yield from _of_engines(now, {(one.node, one.name): one for one in before.engines} if before else {})
    old = {identity(one): one for one in before.instances} if before else {}
    for item in now.instances:
        yield from _of_instance(item, old.get(identity(item)), now.at)
    away = {one.connection for one in before.circuits} if before else set()
    for circuit in now.circuits:
        if circuit.connection not in away:
            yield Failure(circuit.since, circuit.connection, "circuit", "the system is away; its messages wait")


def added(known: tuple[Failure, ...], new: Iterable[Failure], *, most: int) -> tuple[Failure, ...]:
    """The failures, the newest first, one for each that failed and kind of failure, with how often."""
    found = {(one.who, one.kind): one for one in known}
    for one in new:
        seen = found.get((one.who, one.kind))
        found[one.who, one.kind] = Failure(one.at, one.who, one.kind, one.text,
                                           one.count + (seen.count if seen else 0))
    return tuple(sorted(found.values(), key=lambda one: (-one.at, one.who, one.kind))[:most])


def _of_nodes(now: Overview, old: dict[str, str]) -> Iterator[Failure]:
    for node in now.nodes:
        if node.state in _LOST and old.get(node.node) != node.state:
            yield Failure(now.at, node.node, "away", _last_line(node.error) or _LOST[node.state])


def _of_engines(now: Overview, old: dict[tuple[str, str], EngineView]) -> Iterator[Failure]:
    for engine in now.engines:
        seen = old.get((engine.node, engine.name))
        who = engine.name if len(now.nodes) == 1 else f"{engine.name}@{engine.node}"
        if not engine.ready and (seen is None or seen.ready or _last_line(seen.error) != _last_line(engine.error)):
            yield Failure(now.at, who, "not ready", _last_line(engine.error) or "it does not answer")
        if seen is not None and engine.restarts > seen.restarts:
            yield _restarted(now.at, who, engine.restarts - seen.restarts, engine.error)


def _of_instance(item: InstanceView, seen: InstanceView | None, at: float) -> Iterator[Failure]:
    known = seen is not None and seen.state == "failed" and _last_line(seen.error) == _last_line(item.error)
    if item.state == "failed" and not known:
        yield Failure(at, item.instance, "failed", _last_line(item.error) or "it gave no reason")
    if seen is None:
        return
    if item.restarts > seen.restarts:
        yield _restarted(at, item.instance, item.restarts - seen.restarts, item.error or item.last_end)
    if item.pid == seen.pid and seen.state != "starting":
        yield from _counted(at, item.instance, "attempts", "attempts at messages failed",
                            item.counts.failed - seen.counts.failed)
        yield from _counted(at, item.instance, "dead letters", "messages became dead letters",
                            item.counts.dead - seen.counts.dead)


def _counted(at: float, who: str, kind: FailureKind, text: str, count: int) -> Iterator[Failure]:
    if count > 0:
        yield Failure(at, who, kind, text, count)


def _restarted(at: float, who: str, times: int, error: str) -> Failure:
    """An agent's own restart sets its counts back, so that only growth tells of a restart."""
    return Failure(at, who, "restarted", _last_line(error) or "its process ended and was started again", times)


def _last_line(text: str) -> str:
    """Where a traceback says what it is about."""
    return text.strip().rpartition("\n")[2].strip()
