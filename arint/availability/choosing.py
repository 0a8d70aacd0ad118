"""Which node takes a new instance, and why another does not.

Labels and drains also decide what must leave. A cordon, services kept apart and room decide only where new instances
go: what runs is not stopped because a limit was raised or a neighbour came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from heapq import heapify, heappop, heapreplace

from arint.availability.board import Board, permitted
from arint.availability.model import Instance, Node, Wanted
from arint.limits.ceiling import told

_SLACK = 1e-9
"""Of a processor: sums of fractions are not exact."""


def refusal(wanted: Wanted, node: Node, board: Board, lent: Counter[str]) -> str:
    """Why the node takes no further instance; empty where it does.

    `lent`: how many instances on each node are about to be replaced. Each lends its place to the one that replaces it,
    so that a full node can be updated too.
    """
    if not permitted(wanted, node):
        return _not_permitted(wanted, node)
    if node.drain:
        return "it is being drained"
    if node.cordoned:
        return "it is cordoned"
    return _kept_apart(wanted, node, board, lent[node.name]) or _no_room(wanted, node, board, lent[node.name])


def place(wanted: Wanted, keep: Iterable[Instance], old: Collection[Instance], starts: int, board: Board, *,
          version: str, revision: str, round_: int) -> int:
    """Start so many, each on the node that is best then; returns how many no node takes.

    Best is the least loaded; with `spread`, first the one with fewest of this service, or that of the label's value
    with fewest. Where all declare processors, load is counted for each processor.
    """
    lent = Counter(instance.node for instance in old)
    nodes = {node.name: node for node in board.nodes.values() if not refusal(wanted, node, board, lent)}
    if starts <= 0 or not nodes:
        return max(starts, 0)
    own = Counter(instance.node for instance in keep)
    groups = Counter(_group(wanted, node) for instance in keep if (node := board.nodes.get(instance.node)))
    sized = all(node.cpu for node in nodes.values())

    def rank(node: Node) -> tuple[float, float, int, str]:
        load = board.load[node.name] / node.cpu if sized else board.load[node.name]
        if wanted.spread == "node":
            return own[node.name], load, 0, node.name
        return groups[_group(wanted, node)] if wanted.spread else 0, load, own[node.name], node.name

    heap = [rank(node) for node in nodes.values()]
    heapify(heap)
    while starts and heap:
        node = nodes[heap[0][3]]
        if refusal(wanted, node, board, lent):
            heappop(heap)
        elif (now := rank(node)) != heap[0]:  # others of its group were chosen meanwhile
            heapreplace(heap, now)
        else:
            board.start(wanted, version, revision, round_, node.name)
            own[node.name] += 1
            groups[_group(wanted, node)] += 1
            heapreplace(heap, rank(node))
            starts -= 1
    return starts


def has_place(wanted: Wanted, old: Collection[Instance], board: Board) -> bool:
    """Whether any node would take an instance if those that are about to be replaced were gone."""
    lent = Counter(instance.node for instance in old)
    return any(not refusal(wanted, node, board, lent) for node in board.nodes.values())


def _group(wanted: Wanted, node: Node) -> str:
    return node.labels.get(wanted.spread, "")


def _not_permitted(wanted: Wanted, node: Node) -> str:
    if not node.alive:
        return "it is away"
    wrong = next(key for key, value in sorted(wanted.labels.items()) if node.labels.get(key) != value)
    has = f"{wrong}={node.labels[wrong]}" if wrong in node.labels else f"no label {wrong}"
    return f"it has {has}, and {wrong}={wanted.labels[wrong]} is asked for"


def _kept_apart(wanted: Wanted, node: Node, board: Board, lent: int) -> str:
    others = board.apart.get(wanted.service)
    if not others:
        return ""
    here = board.carried[node.name]
    met = sorted(other for other in others if here[other] - (lent if other == wanted.service else 0) > 0)
    if not met:
        return ""
    if met[0] == wanted.service:
        return "it has one already, and they are kept apart"
    return f"it has {met[0]}, from which {wanted.service} is kept apart"


def _no_room(wanted: Wanted, node: Node, board: Board, lent: int) -> str:
    if node.cpu and wanted.cpu:
        free = node.cpu - board.cpu[node.name] + lent * wanted.cpu
        if free + _SLACK < wanted.cpu:
            return f"{max(free, 0):.3g} of {node.cpu:.3g} processors are free, and {wanted.cpu:.3g} needed"
    if node.memory and wanted.memory:
        left = node.memory - board.memory[node.name] + lent * wanted.memory
        if left < wanted.memory:
            return f"{told(max(left, 0))} of {told(node.memory)} are free, and {told(wanted.memory)} needed"
    return ""

