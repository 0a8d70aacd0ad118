"""Why instances are where they are, and why others have no place: told by the very functions that decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import msgspec

from arint.availability.board import Board, number_of
from arint.availability.choosing import refusal
from arint.availability.model import Instance, Node, Rollout, Start, Wanted, is_given_up, is_trial
from arint.availability.placement import plan


class InstanceWhy(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One instance that there is, is about to be (`starts`), or that lacks (no name)."""

    instance: str = ""
    node: str = ""
    state: str = ""
    what: str
    """`stays`, `leaves`, `starts` or `waits`."""
    why: str


class NodeWhy(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Whether a node would take one more. `instances` of the service, `load` of all that it carries.

    What is free is only told where the node declares what it has: processors, bytes of memory.
    """

    node: str
    takes: bool
    why: str
    instances: int = 0
    load: int = 0
    free_cpu: float | None = None
    free_memory: int | None = None


class Explanation(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A service's placement. `wanted`: how many there shall be, canaries beside them not counted."""

    service: str
    mode: str
    wanted: int
    ready: int
    version: str
    stable: str = ""
    failed: str = ""
    error: str = ""
    trial: bool = False
    """Canaries of the wanted version wait for who promotes or aborts it."""
    instances: tuple[InstanceWhy, ...] = ()
    nodes: tuple[NodeWhy, ...] = ()


def explain(service: str, desired: Collection[Wanted], rollouts: Mapping[str, Rollout], nodes: Sequence[Node],
            instances: Sequence[Instance], now: float) -> Explanation:
    """Why the instances of a service are where they are. `service` must be among those desired. Pure."""
    wanted = next(one for one in desired if one.service == service)
    rollout = rollouts.get(service, Rollout())
    changes = plan(desired, rollouts, nodes, instances, now)
    board = Board(desired, nodes, instances, now)
    mine = sorted((one for one in instances if one.service == service), key=number_of)
    stopped = {(stop.node, stop.name): stop.reason for stop in changes.stop if stop.service == service}
    told = [_of_instance(one, wanted, rollout, board, stopped) for one in mine]
    told += [_of_start(start, wanted, board) for start in changes.start if start.service == service]
    lacking = changes.unplaced.get(service, 0)
    told += [InstanceWhy(what="waits", why="no node takes it: see the nodes")] * lacking
    if not lacking and not wanted.count:
        told.append(InstanceWhy(what="waits", why="none is declared: replicas is 0"))
    old = Counter(one.node for one in mine if _is_old(one, wanted, rollout, board))
    count = wanted.count * (sum(board.may_run(wanted, node) for node in board.nodes.values())
                            if wanted.mode == "every-node" else 1)
    return Explanation(
        service=service, mode=wanted.mode, wanted=count, ready=sum(one.state == "ready" for one in mine),
        version=wanted.version, stable=rollout.stable, failed=rollout.failed, error=rollout.error,
        trial=is_trial(wanted, rollout), instances=tuple(told),
        nodes=tuple(_of_node(wanted, node, board, old) for node in board.nodes.values()))


def _target(wanted: Wanted, rollout: Rollout) -> set[str]:
    """The versions that shall run."""
    if is_trial(wanted, rollout):
        return {rollout.stable, wanted.version}
    return {rollout.stable if is_given_up(wanted, rollout) else wanted.version}


def _is_old(one: Instance, wanted: Wanted, rollout: Rollout, board: Board) -> bool:
    return one.state != "draining" and bool(_misfit(one, wanted, rollout, board))


def _misfit(one: Instance, wanted: Wanted, rollout: Rollout, board: Board) -> str:
    """Why an instance is to be replaced; empty where it is not."""
    node = board.nodes.get(one.node)
    if node is None:
        return f"{one.node} is no node of the cluster"
    if not board.may_run(wanted, node):
        return f"{node.name} may not have it: {refusal(wanted, node, board, Counter())}"
    if one.version not in _target(wanted, rollout):
        return "another version is wanted"
    if one.round < rollout.round:
        return "a restart was asked for"
    return ""


def _of_instance(one: Instance, wanted: Wanted, rollout: Rollout, board: Board,
                 stopped: Mapping[tuple[str, str], str]) -> InstanceWhy:
    if one.state == "draining":
        return _told(one, "leaves", "it finishes what it has begun")
    if (reason := stopped.get((one.node, one.name))) is not None:
        return _told(one, "leaves", reason)
    if misfit := _misfit(one, wanted, rollout, board):
        return _told(one, "leaves", f"{misfit}; it stays until another has taken its place")
    return _told(one, "stays", _standing(one, is_trial(wanted, rollout) and one.version == wanted.version))


def _standing(one: Instance, is_canary: bool) -> str:
    if one.state == "failed":
        return f"it failed: {one.error}" if one.error else "it failed"
    if is_canary:
        return "a canary: it waits for promote or abort"
    well = "it runs as wanted" if one.state == "ready" else "it is about to be ready"
    return f"{well}: {one.error}" if one.error and one.state == "starting" else well


def _told(one: Instance, what: str, why: str) -> InstanceWhy:
    return InstanceWhy(instance=one.name, node=one.node, state=one.state, what=what, why=why)


def _of_start(start: Start, wanted: Wanted, board: Board) -> InstanceWhy:
    if wanted.mode == "every-node":
        why = "every node has one"
    elif wanted.spread:
        what = "nodes" if wanted.spread == "node" else f"values of {wanted.spread}"
        why = f"it is spread over {what}, and {start.node} comes first by that and by load"
    else:
        why = f"{start.node} carries the least: {board.load[start.node]} instances"
    return InstanceWhy(instance=start.name, node=start.node, what="starts", why=why)


def _of_node(wanted: Wanted, node: Node, board: Board, old: Counter[str]) -> NodeWhy:
    if wanted.mode == "every-node":
        why = "" if board.may_run(wanted, node) else refusal(wanted, node, board, old)
    else:
        why = refusal(wanted, node, board, old)
    return NodeWhy(
        node=node.name, takes=not why, why=why or "it would take one more", load=board.load[node.name],
        instances=board.carried[node.name][wanted.service],
        free_cpu=round(max(node.cpu - board.cpu[node.name], 0.0), 6) if node.cpu else None,
        free_memory=max(node.memory - board.memory[node.name], 0) if node.memory else None)
