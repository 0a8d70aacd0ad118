"""The placement decision: what is wanted and what is seen go in, starts and stops come out.

A pure function in the manner of Nomad's reconciler: it is asked again at every change, and each answer is a step
towards what is wanted. Asked twice of the same, it answers the same; once all is as wanted, it answers nothing.

How a new version takes over: at most `max_parallel` new instances beside the old, an old one leaves only when a new
one has been ready for `healthy_after`, and a version that fails before it was ever stable is given up for the last
stable one (`auto_revert`). With `canary` so many of it first run beside all of the stable version, until somebody
promotes or aborts it. A drain and a restart replace instances in the same way, by ones of the same version. A
singleton, and whatever cannot run beside itself, stops before it starts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from arint.availability.board import Board, number_of, permitted
from arint.availability.choosing import has_place, place
from arint.availability.model import Changes, Instance, Node, Rollout, Wanted, is_given_up, is_trial

__all__ = ["permitted", "plan"]

_HEALTH = {"failed": 0, "draining": 0, "starting": 1, "ready": 2}


def plan(desired: Iterable[Wanted], rollouts: Mapping[str, Rollout], nodes: Iterable[Node],
         instances: Iterable[Instance], now: float) -> Changes:
    """The next changes. Deterministic, and no instance moves without a reason.

    `instances` holds every assignment, and the draining ones whose assignment is already gone. `now` is in seconds on
    the clock of their `since`.
    """
    board = Board(desired, nodes, instances, now)
    for wanted in board.desired.values():
        _decide(board, wanted, rollouts.get(wanted.service, Rollout()))
    for service in sorted(board.by_service):
        board.stop_all(board.by_service[service], "the service is no longer declared")
    for service in rollouts.keys() - board.desired.keys():
        board.rollouts[service] = None
    return board.changes()


class _Case(msgspec.Struct):
    """One service: what is wanted, the version to bring forward now, and where its instances stand."""

    wanted: Wanted
    target: str
    revision: str
    stable: str
    round: int
    keep: list[Instance]
    """Of the right version and round, on a node where they may be."""
    old: list[Instance]
    """Of another, or where they may no longer be."""
    draining: list[Instance]

    @property
    def surge(self) -> bool:
        return self.wanted.surge and self.wanted.mode != "singleton"

    def proven(self, instance: Instance, now: float) -> bool:
        return instance.state == "ready" and now >= instance.since + self.wanted.healthy_after

    def all_proven(self, now: float) -> bool:
        """Whether it runs in full, and nothing else of it."""
        return not self.old and sum(self.proven(one, now) for one in self.keep) >= self.wanted.count

    def start_one(self, node: str, board: Board) -> None:
        board.start(self.wanted, self.target, self.revision, self.round, node)


def _decide(board: Board, wanted: Wanted, rollout: Rollout) -> None:
    mine = board.by_service.pop(wanted.service, [])
    for instance in mine:
        if instance.state != "draining" and not board.alive(instance.node):
            board.stop(instance, f"node {instance.node} is away")
    live = [instance for instance in mine if board.alive(instance.node)]
    decided = _give_up_failed(wanted, rollout, live, board)
    if is_trial(wanted, decided):
        _try_out(board, wanted, decided, live)
    else:
        decided = _bring_forward(board, wanted, decided, live)
    if decided != rollout:
        board.rollouts[wanted.service] = decided


def _bring_forward(board: Board, wanted: Wanted, rollout: Rollout, live: Sequence[Instance]) -> Rollout:
    """One step towards the one version that shall run; the rollout after it."""
    given_up = is_given_up(wanted, rollout)
    target, revision = (rollout.stable, rollout.revision) if given_up else (wanted.version, wanted.revision)
    case = _sort_out(wanted, target, revision, rollout, live, board)
    _step(case, rollout, board)
    if case.old or any(one.version != target for one in case.draining):
        board.replacing.append(wanted.service)
    return _settle(case, rollout, board)


def _try_out(board: Board, wanted: Wanted, rollout: Rollout, live: Sequence[Instance]) -> None:
    """The stable version goes on in full; beside it run the canaries."""
    count = min(wanted.canary, wanted.count)
    trial = _sort_out(msgspec.structs.replace(wanted, replicas=count), wanted.version, wanted.revision, rollout,
                      [one for one in live if one.version == wanted.version], board)
    stable = _sort_out(wanted, rollout.stable, rollout.revision, rollout,
                       [one for one in live if one.version != wanted.version], board)
    for case in (stable, trial):
        _step(case, rollout, board)
    if stable.old or not trial.all_proven(board.now):
        board.replacing.append(wanted.service)


def _step(case: _Case, rollout: Rollout, board: Board) -> None:
    _look_again(case, rollout, board)
    _stop_worthless(case, board)
    if case.wanted.mode == "every-node":
        _every_node(case, board)
    else:
        _anywhere(case, board)


def _give_up_failed(wanted: Wanted, rollout: Rollout, live: Sequence[Instance], board: Board) -> Rollout:
    """A new version that fails while an older one is known to run is not tried further."""
    if not (wanted.auto_revert and rollout.stable) or wanted.version in (rollout.stable, rollout.failed):
        return rollout
    for instance in live:
        if instance.version == wanted.version and _has_failed(instance, wanted, board.now):
            why = instance.error or f"{instance.name} was not ready within {wanted.start_within:g} s"
            return Rollout(rollout.stable, rollout.revision, wanted.version, why, instance.name, round=rollout.round)
    return rollout


def _sort_out(wanted: Wanted, target: str, revision: str, rollout: Rollout, live: Iterable[Instance],
              board: Board) -> _Case:
    case = _Case(wanted, target, revision, rollout.stable, rollout.round, [], [], [])
    for instance in live:
        if instance.state == "draining":
            case.draining.append(instance)
        elif (instance.version == target and instance.round >= rollout.round
              and board.may_run(wanted, board.nodes[instance.node])):
            case.keep.append(instance)
        else:
            case.old.append(instance)
    return case


def _look_again(case: _Case, rollout: Rollout, board: Board) -> None:
    for instance in case.keep:
        if instance.state == "ready":
            board.look_again(instance.since + case.wanted.healthy_after)
        elif instance.state == "starting" and rollout.stable not in ("", case.target):
            board.look_again(instance.since + case.wanted.start_within)


def _stop_worthless(case: _Case, board: Board) -> None:
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


def _anywhere(case: _Case, board: Board) -> None:
    wanted, lenders = case.wanted, [*case.old]
    _stop_surplus(case, wanted.count, board)
    if case.surge:
        starts = _starts_beside(case, wanted.count, board)
        _stop_replaced(case, wanted.count, board)
    elif case.old:
        starts = 0
        if not wanted.count or has_place(wanted, lenders, board):
            _stop_old(case, case.old, board)
    else:
        starts = 0 if case.draining else wanted.count - len(case.keep)
    missing = place(wanted, case.keep, lenders, starts, board, version=case.target, revision=case.revision,
                    round_=case.round)
    board.unplaced[wanted.service] += missing
    if case.old and (missing or not case.surge):
        _stop_forced(case, board)


def _stop_forced(case: _Case, board: Board) -> None:
    """What no other node takes leaves a node that is drained by force all the same."""
    if not has_place(case.wanted, case.old, board):
        _stop_old(case, [one for one in case.old if board.nodes[one.node].drain == "force"], board)


def _stop_old(case: _Case, instances: Sequence[Instance], board: Board) -> None:
    board.stop_all(instances, "another version or place is wanted")
    gone = {instance.name for instance in instances}
    case.draining += instances
    case.old = [instance for instance in case.old if instance.name not in gone]


def _every_node(case: _Case, board: Board) -> None:
    """One instance a node, cordoned ones too (as daemons are); `max_parallel` nodes at a time get a new version."""
    unready = sum(not case.proven(instance, board.now) for instance in case.keep)
    budget = case.wanted.max_parallel - unready - len(case.draining)
    left: list[Instance] = []
    groups = [_by_node(group) for group in (case.keep, case.old, case.draining)]
    for node in board.nodes.values():
        here = _Case(case.wanted, case.target, case.revision, case.stable, case.round,
                     *(group.get(node.name, []) for group in groups))
        budget -= _on_node(here, case.wanted.count if board.may_run(case.wanted, node) else 0, node.name, budget, board)
        left += here.old
    case.old = left


def _by_node(instances: Iterable[Instance]) -> dict[str, list[Instance]]:
    found: dict[str, list[Instance]] = {}
    for instance in instances:
        found.setdefault(instance.node, []).append(instance)
    return found


def _on_node(case: _Case, count: int, node: str, budget: int, board: Board) -> int:
    """Bring one node forward; returns how much of the budget of parallel replacements it used."""
    _stop_surplus(case, count, board)
    if not count:
        board.stop_all(case.old, "it may not run here")
        case.old = []
        return 0
    if not case.old:
        if not case.keep and (case.surge or not case.draining):
            case.start_one(node, board)
        return 0
    if case.surge:
        _stop_replaced(case, count, board)
    elif case.keep:
        _stop_old(case, case.old, board)
    if case.keep or budget <= 0:
        return 0
    if case.surge:
        case.start_one(node, board)
    else:
        board.stop_all(case.old, "another version is wanted")
    return 1


def _stop_surplus(case: _Case, count: int, board: Board) -> None:
    """More of the right ones than wanted: the worst go first, then those where most are."""
    if len(case.keep) <= count:
        return
    crowd: Counter[str] = Counter()
    rank: dict[str, int] = {}
    for instance in sorted(case.keep, key=lambda one: (-_HEALTH[one.state], number_of(one))):
        rank[instance.name] = crowd[instance.node]
        crowd[instance.node] += 1
    worst_first = sorted(case.keep, key=lambda one: (
        _HEALTH[one.state], not board.nodes[one.node].cordoned, -rank[one.name], -number_of(one)[0], one.name))
    surplus = worst_first[:len(case.keep) - count]
    board.stop_all(surplus, f"{count} wanted" if count else "none is wanted")
    gone = {instance.name for instance in surplus}
    case.keep = [instance for instance in case.keep if instance.name not in gone]
    case.draining += surplus


def _starts_beside(case: _Case, count: int, board: Board) -> int:
    """How many to start now: all that lack, and of those that replace others `max_parallel` at a time."""
    need = count - len(case.keep)
    if not case.old:
        return need
    present = len(case.keep) + len(case.old)
    unready = sum(not case.proven(instance, board.now) for instance in case.keep)
    lacking = max(0, count - present)
    at_once = max(0, case.wanted.max_parallel - unready)
    return max(0, min(need, count + case.wanted.max_parallel - present, lacking + at_once))


def _stop_replaced(case: _Case, count: int, board: Board) -> None:
    """An old one goes for each new one that has proven itself; those that serve nobody, or must leave, first."""
    proven = sum(case.proven(instance, board.now) for instance in case.keep)
    replaced = max(0, proven + len(case.old) - count)
    least_useful = sorted(case.old, key=lambda one: (
        _HEALTH[one.state], board.may_run(case.wanted, board.nodes[one.node]), number_of(one)))
    board.stop_all(least_useful[:replaced], "replaced")
    case.draining += least_useful[:replaced]
    case.old = least_useful[replaced:]


def _settle(case: _Case, rollout: Rollout, board: Board) -> Rollout:
    """The version that now runs in full, all proven and no old one left, is the stable one."""
    count = case.wanted.count
    if case.wanted.mode == "every-node":
        count *= sum(board.may_run(case.wanted, node) for node in board.nodes.values())
    proven = sum(case.proven(instance, board.now) for instance in case.keep)
    if not count or proven < count or case.old:
        return rollout
    if case.target == case.wanted.version:
        return Rollout(stable=case.target, revision=case.revision, round=rollout.round)
    return msgspec.structs.replace(rollout, stable=case.target)


def _has_failed(instance: Instance, wanted: Wanted, now: float) -> bool:
    return instance.state == "failed" or (instance.state == "starting" and now >= instance.since + wanted.start_within)
