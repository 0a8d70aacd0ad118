"""What will become of a change: placement carried on until it asks for nothing more, as if every start succeeded."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from arint.availability.board import Board, number_of
from arint.availability.choosing import refusal
from arint.availability.model import Changes, Instance, Node, Rollout, Start, Wanted
from arint.availability.placement import plan

_LATER = 1e9
"""Seconds from one step to the next: whatever has to prove itself has."""


class Move(msgspec.Struct, frozen=True, omit_defaults=True):
    """What becomes of one instance: the `node` and name (`by`) of the one that takes its place.

    Without them none does: because none is needed any more (`why` is empty), or since no node takes it.
    """

    instance: str
    service: str
    node: str = ""
    by: str = ""
    why: str = ""


def foresee(desired: Collection[Wanted], rollouts: Mapping[str, Rollout], nodes: Sequence[Node],
            instances: Iterable[Instance]) -> list[Instance]:
    """The instances in the end. Ends with what it has where it takes more steps than there are instances."""
    standing = {(one.node, one.name): msgspec.structs.replace(one, since=0.0) for one in instances
                if one.state != "draining"}
    known, now = dict(rollouts), _LATER
    for _ in range(3 * len(standing) + 10):
        changes = plan(desired, known, nodes, standing.values(), now)
        if changes.none:
            break
        _carry_out(changes, standing, known)
        now += _LATER
    return sorted(standing.values(), key=number_of)


def moves(desired: Collection[Wanted], rollouts: Mapping[str, Rollout], nodes: Sequence[Node],
          instances: Sequence[Instance], drained: str) -> list[Move]:
    """What a drain of the node moves, and where to; `why` is set where no other node takes an instance. Pure."""
    after = [msgspec.structs.replace(node, drain="move") if node.name == drained else node for node in nodes]
    end = foresee(desired, rollouts, after, instances)
    before = {one.name for one in instances}
    new: dict[str, list[Instance]] = defaultdict(list)
    for one in end:
        if one.name not in before:
            new[one.service].append(one)
    stay = {one.name for one in end if one.node == drained}
    board = Board(desired, after, end, _LATER)
    found = []
    for one in sorted((one for one in instances if one.node == drained and one.state != "draining"), key=number_of):
        wanted = board.desired.get(one.service)
        if wanted is None or wanted.mode == "every-node":
            found.append(Move(one.name, one.service))
        elif one.name in stay:
            found.append(Move(one.name, one.service, why=nowhere(wanted, board, besides=drained)))
        elif new[one.service]:
            taker = new[one.service].pop(0)
            found.append(Move(one.name, one.service, taker.node, taker.name))
        else:
            found.append(Move(one.name, one.service))
    return sorted(found, key=lambda move: (move.service, move.instance))


def nowhere(wanted: Wanted, board: Board, *, besides: str = "") -> str:
    """Why no node takes an instance, in one line."""
    told = [f"{node.name}: {refusal(wanted, node, board, Counter())}" for node in board.nodes.values()
            if node.name != besides]
    return "; ".join(told) or "there is no other node"


def _carry_out(changes: Changes, standing: dict[tuple[str, str], Instance], rollouts: dict[str, Rollout]) -> None:
    for stop in changes.stop:
        del standing[stop.node, stop.name]
    for start in changes.start:
        standing[start.node, start.name] = _started(start)
    for service, rollout in changes.rollouts.items():
        if rollout is None:
            del rollouts[service]
        else:
            rollouts[service] = rollout


def _started(start: Start) -> Instance:
    return Instance(service=start.service, name=start.name, version=start.version, node=start.node, state="ready",
                    round=start.round)
