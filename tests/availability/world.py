"""A cluster that does at once what a plan says."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from arint.availability.model import Changes, Instance, Node, Rollout, Wanted
from arint.availability.placement import plan


class World:
    """Does what a plan says, at once; versions in `broken` fail at their start."""

    def __init__(self, nodes: list[Node], broken: set[str] | None = None) -> None:
        self.nodes = nodes
        self.broken = broken or set()
        self.instances: dict[str, Instance] = {}
        self.rollouts: dict[str, Rollout] = {}
        self.now = 0.0
        self.most: Counter[str] = Counter()
        self.least_ready: dict[str, int] = {}

    def ready(self, service: str) -> list[Instance]:
        return [one for one in self.instances.values() if one.service == service and one.state == "ready"]

    def versions(self, service: str) -> set[str]:
        return {one.version for one in self.instances.values() if one.service == service}

    def apply(self, changes: Changes) -> None:
        for stop in changes.stop:
            instance = self.instances[stop.name]
            alive = any(node.name == stop.node and node.alive for node in self.nodes)
            if alive and instance.state == "ready":
                self.instances[stop.name] = msgspec.structs.replace(instance, state="draining")
            else:
                del self.instances[stop.name]
        for start in changes.start:
            assert start.name not in self.instances
            self.instances[start.name] = Instance(service=start.service, name=start.name, version=start.version,
                                                  node=start.node, since=self.now,
                                                  round=start.round)
        for service, rollout in changes.rollouts.items():
            if rollout is None:
                del self.rollouts[service]
            else:
                self.rollouts[service] = rollout

    def advance(self) -> None:
        self.now += 0.6
        for name, instance in list(self.instances.items()):
            if instance.state == "starting":
                state = "failed" if instance.version in self.broken else "ready"
                self.instances[name] = msgspec.structs.replace(instance, state=state, since=self.now, error="no")
            elif instance.state == "draining":
                del self.instances[name]

    def settle(self, *desired: Wanted, rounds: int = 400) -> None:
        for _ in range(rounds):
            changes = plan(desired, self.rollouts, self.nodes, self.instances.values(), self.now)
            transient = any(one.state in ("starting", "draining") for one in self.instances.values())
            if changes.none and not transient and changes.look_again is None:
                return
            self.apply(changes)
            self.advance()
            for wanted in desired:
                mine = [one for one in self.instances.values() if one.service == wanted.service]
                working = [one for one in mine if one.state != "draining"]
                self.most[wanted.service] = max(self.most[wanted.service], len(working))
                ready = len(self.ready(wanted.service))
                self.least_ready[wanted.service] = min(self.least_ready.get(wanted.service, ready), ready)
        pytest.fail(f"does not converge: {changes}")


def nodes(count: int, **labels: str) -> list[Node]:
    return [Node(name=f"n{number}", labels=labels) for number in range(1, count + 1)]
