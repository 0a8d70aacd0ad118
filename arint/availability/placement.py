"""The placement decision: what is wanted and what is seen go in, starts and stops come out.

A pure function in the manner of Nomad's reconciler: it is asked again at every change, and each answer is a step
towards what is wanted. Asked twice of the same, it answers the same; once all is as wanted, it answers nothing.

How a new version takes over: at most `max_parallel` new instances beside the old, an old one leaves only when a new
one has been ready for `healthy_after`, and a version that fails before it was ever stable is given up for the last
stable one (`auto_revert`). A singleton, and whatever cannot run beside itself, stops before it starts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heapreplace

import msgspec

from arint.availability.model import Changes, Instance, Node, Rollout, Start, Stop, Wanted

_HEALTH = {"failed": 0, "draining": 0, "starting": 1, "ready": 2}


def plan(desired: Iterable[Wanted], rollouts: Mapping[str, Rollout], nodes: Iterable[Node],
         instances: Iterable[Instance], now: float) -> Changes:
    """The next changes. Deterministic, and no instance moves without a reason.

    `instances` holds every assignment, and the draining ones whose assignment is already gone. `now` is in seconds on
    the clock of their `since`.
    """
    board = _Board(nodes, instances, now)
    for wanted in sorted(desired, key=lambda one: one.service):
        _decide(board, wanted, rollouts.get(wanted.service, Rollout()))
    for service in sorted(board.by_service):
        board.stop_all(board.by_service[service], "the service is no longer declared")
    for service in rollouts.keys() - board.decided:
        board.rollouts[service] = None
    return board.changes()


def permitted(wanted: Wanted, node: Node) -> bool:
    """Whether instances may be on this node: it lives, and it has the labels."""
    return node.alive and all(node.labels.get(key) == value for key, value in wanted.labels.items())


class _Board:
    """The situation, and the changes gathered so far."""

    def __init__(self, nodes: Iterable[Node], instances: Iterable[Instance], now: float) -> None:
        self.now = now
        self.nodes = {node.name: node for node in sorted(nodes, key=lambda one: one.name)}
        self.by_service: dict[str, list[Instance]] = defaultdict(list)
        self.load: Counter[str] = Counter()
        self.names: set[str] = set()
        self.decided: set[str] = set()
        self.rollouts: dict[str, Rollout | None] = {}
        self._numbers: dict[str, int] = {}
        self._starts: list[Start] = []
        self._stops: list[Stop] = []
        self._look_again: float | None = None
        self.replacing: list[str] = []
        for instance in sorted(instances, key=_number):
            self.by_service[instance.service].append(instance)
            self.names.add(instance.name)
            self.load[instance.node] += 1

    def alive(self, node: str) -> bool:
        found = self.nodes.get(node)
        return found is not None and found.alive

    def start(self, case: _Case, node: str) -> None:
        wanted = case.wanted
        name = self._free_name(wanted.base or wanted.service)
        self._starts.append(Start(wanted.service, name, case.target, node, case.revision))
        self.load[node] += 1

    def stop(self, instance: Instance, reason: str) -> None:
        self._stops.append(Stop(instance.service, instance.name, instance.node, reason))
        self.load[instance.node] -= 1

    def stop_all(self, instances: Iterable[Instance], reason: str) -> None:
        for instance in instances:
            if instance.state != "draining":
                self.stop(instance, reason)

    def look_again(self, at: float) -> None:
        if at > self.now and (self._look_again is None or at < self._look_again):
            self._look_again = at

    def changes(self) -> Changes:
        return Changes(tuple(self._starts), tuple(self._stops), self.rollouts, self._look_again,
                       tuple(self.replacing))

    def _free_name(self, base: str) -> str:
        """The lowest number that no instance has, those included that are about to stop: a name means one process."""
        number = self._numbers.get(base, 0) + 1
        while f"{base}-{number}" in self.names:
            number += 1
        self._numbers[base] = number
        name = f"{base}-{number}"
        self.names.add(name)
        return name


class _Case(msgspec.Struct):
    """One service: what is wanted, the version to bring forward now, and where its instances stand."""

    wanted: Wanted
    target: str
    revision: str
    stable: str
    keep: list[Instance]
    """Of the right version on a permitted node."""
    old: list[Instance]
    """Of another version, or where they may no longer be."""
    draining: list[Instance]

    @property
    def surge(self) -> bool:
        return self.wanted.surge and self.wanted.mode != "singleton"

    def proven(self, instance: Instance, now: float) -> bool:
        return instance.state == "ready" and now >= instance.since + self.wanted.healthy_after


def _decide(board: _Board, wanted: Wanted, rollout: Rollout) -> None:
    mine = board.by_service.pop(wanted.service, [])
    board.decided.add(wanted.service)
    for instance in mine:
        if instance.state != "draining" and not board.alive(instance.node):
            board.stop(instance, f"node {instance.node} is away")
    live = [instance for instance in mine if board.alive(instance.node)]
    decided = _give_up_failed(wanted, rollout, live, board)
    case = _sort_out(wanted, decided, live, board)
    _look_again(case, decided, board)
    _stop_worthless(case, board)
    if wanted.mode == "every-node":
        _every_node(case, board)
    else:
        _anywhere(case, board)
    decided = _settle(case, decided, board)
    if case.old:
        board.replacing.append(wanted.service)
    if decided != rollout:
        board.rollouts[wanted.service] = decided


def _give_up_failed(wanted: Wanted, rollout: Rollout, live: Sequence[Instance], board: _Board) -> Rollout:
    """A new version that fails while an older one is known to run is not tried further."""
    if not (wanted.auto_revert and rollout.stable) or wanted.version in (rollout.stable, rollout.failed):
        return rollout
    for instance in live:
        if instance.version == wanted.version and _has_failed(instance, wanted, board.now):
            why = instance.error or f"{instance.name} was not ready within {wanted.start_within:g} s"
            return Rollout(rollout.stable, rollout.revision, wanted.version, why, instance.name)
    return rollout


def _sort_out(wanted: Wanted, rollout: Rollout, live: Sequence[Instance], board: _Board) -> _Case:
    reverted = wanted.auto_revert and rollout.stable and wanted.version == rollout.failed
    target, revision = (rollout.stable, rollout.revision) if reverted else (wanted.version, wanted.revision)
    case = _Case(wanted, target, revision, rollout.stable, [], [], [])
    for instance in live:
        if instance.state == "draining":
            case.draining.append(instance)
        elif instance.version == case.target and permitted(wanted, board.nodes[instance.node]):
            case.keep.append(instance)
        else:
            case.old.append(instance)
    return case


def _look_again(case: _Case, rollout: Rollout, board: _Board) -> None:
    for instance in case.keep:
        if instance.state == "ready":
            board.look_again(instance.since + case.wanted.healthy_after)
        elif instance.state == "starting" and rollout.stable not in ("", case.target):
            board.look_again(instance.since + case.wanted.start_within)


def _stop_worthless(case: _Case, board: _Board) -> None:
    """What is to be replaced and serves nobody goes at once: it failed, or it never became ready as a stable one."""
    worth: list[Instance] = []
    for instance in case.old:
        failed = _has_failed(instance, case.wanted, board.now)
        if failed or (instance.state != "ready" and instance.version != case.stable):
            board.stop(instance, "it failed" if failed else "another version is wanted")
            case.draining.append(instance)
        else:
            worth.append(instance)
    case.old = worth


def _anywhere(case: _Case, board: _Board) -> None:
    wanted = case.wanted
    count = min(wanted.replicas, 1) if wanted.mode == "singleton" else wanted.replicas
    nodes = [node for node in board.nodes.values() if permitted(wanted, node) and not node.cordoned]
    _stop_surplus(case, count, board)
    if case.surge:
        starts = _starts_beside(case, count, board)
        _stop_replaced(case, count, board)
    elif case.old:
        starts = 0
        if nodes or not count:
            board.stop_all(case.old, "another version or place is wanted")
            case.draining += case.old
    else:
        starts = 0 if case.draining else count - len(case.keep)
    for node in _choose(wanted, nodes, case.keep, starts, board):
        board.start(case, node)


def _every_node(case: _Case, board: _Board) -> None:
    """One instance a node, cordoned ones too (as daemons are); `max_parallel` nodes at a time get a new version."""
    count = min(case.wanted.replicas, 1)
    unready = sum(not case.proven(instance, board.now) for instance in case.keep)
    budget = case.wanted.max_parallel - unready - len(case.draining)
    for node in board.nodes.values():
        here = _Case(case.wanted, case.target, case.revision, case.stable, *(
            [one for one in group if one.node == node.name] for group in (case.keep, case.old, case.draining)))
        budget -= _on_node(here, count if permitted(case.wanted, node) else 0, node.name, budget, board)


def _on_node(case: _Case, count: int, node: str, budget: int, board: _Board) -> int:
    """Bring one node forward; returns how much of the budget of parallel replacements it used."""
    _stop_surplus(case, count, board)
    if not count:
        board.stop_all(case.old, "it may not run here")
        return 0
    if not case.old:
        if not case.keep and (case.surge or not case.draining):
            board.start(case, node)
        return 0
    if case.surge:
        _stop_replaced(case, count, board)
    elif case.keep:
        board.stop_all(case.old, "it cannot run beside another version")
    if case.keep or budget <= 0:
        return 0
    if case.surge:
        board.start(case, node)
    else:
        board.stop_all(case.old, "another version is wanted")
    return 1


def _stop_surplus(case: _Case, count: int, board: _Board) -> None:
    """More of the right ones than wanted: the worst go first, then those where most are."""
    if len(case.keep) <= count:
        return
    crowd: Counter[str] = Counter()
    rank: dict[str, int] = {}
    for instance in sorted(case.keep, key=lambda one: (-_HEALTH[one.state], _number(one))):
        rank[instance.name] = crowd[instance.node]
        crowd[instance.node] += 1
    worst_first = sorted(case.keep, key=lambda one: (
        _HEALTH[one.state], not board.nodes[one.node].cordoned, -rank[one.name], -_number(one)[0], one.name))
    surplus = worst_first[:len(case.keep) - count]
    board.stop_all(surplus, f"{count} wanted" if count else "none is wanted")
    gone = {instance.name for instance in surplus}
    case.keep = [instance for instance in case.keep if instance.name not in gone]
    case.draining += surplus


def _starts_beside(case: _Case, count: int, board: _Board) -> int:
    """How many to start now: all that lack, and of those that replace others `max_parallel` at a time."""
    need = count - len(case.keep)
    if not case.old:
        return need
    present = len(case.keep) + len(case.old)
    unready = sum(not case.proven(instance, board.now) for instance in case.keep)
    lacking = max(0, count - present)
    at_once = max(0, case.wanted.max_parallel - unready)
    return max(0, min(need, count + case.wanted.max_parallel - present, lacking + at_once))


def _stop_replaced(case: _Case, count: int, board: _Board) -> None:
    """An old one goes for each new one that has proven itself; those that serve nobody first."""
    proven = sum(case.proven(instance, board.now) for instance in case.keep)
    replaced = max(0, proven + len(case.old) - count)
    least_useful = sorted(case.old, key=lambda one: (_HEALTH[one.state], _number(one)))
    board.stop_all(least_useful[:replaced], "replaced")
    case.old = least_useful[replaced:]


def _choose(wanted: Wanted, nodes: Sequence[Node], keep: Sequence[Instance], starts: int, board: _Board) -> list[str]:
    """The nodes for so many new instances: the least loaded; with `spread`, first those with fewest of this service."""
    if not nodes or starts <= 0:
        return []
    own = Counter(instance.node for instance in keep)

    def key(name: str) -> tuple[int, int, str]:
        return (own[name], board.load[name], name) if wanted.spread else (board.load[name], own[name], name)

    load = {node.name: board.load[node.name] for node in nodes}
    heap = [key(name) for name in load]
    heapify(heap)
    chosen: list[str] = []
    for _ in range(starts):
        first, second, name = heap[0]
        chosen.append(name)
        heapreplace(heap, (first + 1, second + 1, name))
    return chosen


def _settle(case: _Case, rollout: Rollout, board: _Board) -> Rollout:
    """The version that now runs in full, all proven and no old one left, is the stable one."""
    if case.wanted.mode == "every-node":
        count = sum(permitted(case.wanted, node) for node in board.nodes.values()) * min(case.wanted.replicas, 1)
    else:
        count = min(case.wanted.replicas, 1) if case.wanted.mode == "singleton" else case.wanted.replicas
    proven = sum(case.proven(instance, board.now) for instance in case.keep)
    if not count or proven < count or case.old:
        return rollout
    if case.target == case.wanted.version:
        return Rollout(stable=case.target, revision=case.revision)
    return msgspec.structs.replace(rollout, stable=case.target)


def _has_failed(instance: Instance, wanted: Wanted, now: float) -> bool:
    return instance.state == "failed" or (instance.state == "starting" and now >= instance.since + wanted.start_within)


def _number(instance: Instance) -> tuple[int, str]:
    tail = instance.name.rpartition("-")[2]
    return (int(tail) if tail.isdecimal() else 0, instance.name)
