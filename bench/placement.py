"""The placement decision for 10,000 instances on 200 nodes: all at once, after a death, in a drain, and when asked why.

Pure: nothing is started. Nodes stand in four zones and declare what they have; services spread over zones or nodes,
some are kept apart from their like.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from arint.availability.explaining import explain
from arint.availability.foreseeing import moves
from arint.availability.model import Changes, Instance, Node, Wanted
from arint.availability.placement import plan
from bench.report import Figure, best

Result = TypeVar("Result")
NODES = 200
SERVICES = 100
REPLICAS = 100


def measure(runs: int) -> list[Figure]:
    """Each decision, `runs` times."""
    machines = [Node(name=f"n{number}", labels={"zone": "abcd"[number % 4]}, cpu=32.0, memory=64 * 2**30)
                for number in range(NODES)]
    desired = [Wanted(service=f"s{number}", version="v1", replicas=REPLICAS, spread=("node", "zone", "")[number % 3],
                      apart=(f"s{number}",) if number % 5 == 0 else (), cpu=0.25, memory=256 * 2**20)
               for number in range(SERVICES)]
    first, all_placed = _timed(runs, lambda: plan(desired, {}, machines, [], 0.0))
    standing = _running(all_placed)
    steady, nothing = _timed(runs, lambda: plan(desired, {}, machines, standing, 10.0))
    dead = [msgspec.structs.replace(node, alive=node.name != "n7") for node in machines]
    death, replaced = _timed(runs, lambda: plan(desired, {}, dead, standing, 10.0))
    drain, moved = _timed(runs, lambda: moves(desired, {}, machines, standing, "n7"))
    why, _ = _timed(runs, lambda: explain("s1", desired, {}, machines, standing, 10.0))
    assert len(all_placed.start) == SERVICES * REPLICAS, f"{len(all_placed.start)} placed"
    assert not (nothing.start or nothing.stop)
    assert len(replaced.start) == len(replaced.stop) == len(moved)
    what = f"{SERVICES * REPLICAS:,} instances on {NODES} nodes"
    return [
        best("placement: all at once", first, "s", 1.0, "less", what),
        best("placement: nothing to do", steady, "s", 1.0, "less", what),
        best("placement: a node dies", death, "s", 1.0, "less", f"{len(replaced.start)} start elsewhere"),
        best("placement: a drain, foreseen to its end", drain, "s", detail=f"{len(moved)} move"),
        best("placement: why", why, "s", detail="of one service")]


def _running(changes: Changes) -> list[Instance]:
    return [Instance(service=one.service, name=one.name, version="v1", node=one.node, state="ready")
            for one in changes.start]


def _timed(runs: int, decide: Callable[[], Result]) -> tuple[list[float], Result]:
    took = []
    for _ in range(runs):
        began = time.perf_counter()
        result = decide()
        took.append(time.perf_counter() - began)
    return took, result
