"""The situation that one decision is about, and the changes gathered so far."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from arint.availability.model import Changes, Instance, Node, Rollout, Start, Stop, Wanted


class Board:
    """Instances by service, in the order of their numbers; what each node carries, changes included."""

    def __init__(self, desired: Iterable[Wanted], nodes: Iterable[Node], instances: Iterable[Instance],
                 now: float) -> None:
        self.now = now
        self.desired = {one.service: one for one in sorted(desired, key=lambda one: one.service)}
        self.nodes = {node.name: node for node in sorted(nodes, key=lambda one: one.name)}
        self.by_service: dict[str, list[Instance]] = defaultdict(list)
        self.load: Counter[str] = Counter()
        self.cpu: dict[str, float] = defaultdict(float)
        self.memory: Counter[str] = Counter()
        self.carried: dict[str, Counter[str]] = defaultdict(Counter)
        """How many instances of each service a node carries."""
        self.apart = _apart(self.desired)
        self.leaving: set[str] = set()
        """Drained nodes that still carry what moves: what runs on every node stays until that is gone."""
        self.rollouts: dict[str, Rollout | None] = {}
        self.replacing: list[str] = []
        self.unplaced: Counter[str] = Counter()
        self._names: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._starts: list[Start] = []
        self._stops: list[Stop] = []
        self._look_again: float | None = None
        for instance in sorted(instances, key=number_of):
            self.by_service[instance.service].append(instance)
            self._names.add(instance.name)
            self._carry(instance.service, instance.node, 1)
            self._note_leaving(instance)

    def alive(self, node: str) -> bool:
        """Whether it is known and its lease stands."""
        found = self.nodes.get(node)
        return found is not None and found.alive

    def may_run(self, wanted: Wanted, node: Node) -> bool:
        """Whether instances may be on this node, or must leave it."""
        if not permitted(wanted, node):
            return False
        return not node.drain or (wanted.mode == "every-node" and node.name in self.leaving)

    def start(self, wanted: Wanted, version: str, revision: str, round_: int, node: str) -> None:
        """One more instance there."""
        name = self._free_name(wanted.base or wanted.service)
        self._starts.append(Start(wanted.service, name, version, node, revision, round_))
        self._carry(wanted.service, node, 1)

    def stop(self, instance: Instance, reason: str) -> None:
        """Take it away. Its room is free once it is gone."""
        self._stops.append(Stop(instance.service, instance.name, instance.node, reason))
        self.load[instance.node] -= 1

    def stop_all(self, instances: Iterable[Instance], reason: str) -> None:
        """Those that do not leave already."""
        for instance in instances:
            if instance.state != "draining":
                self.stop(instance, reason)

    def look_again(self, at: float) -> None:
        """Plan again then at the latest."""
        if at > self.now and (self._look_again is None or at < self._look_again):
            self._look_again = at

    def changes(self) -> Changes:
        """All that was gathered."""
        return Changes(tuple(self._starts), tuple(self._stops), self.rollouts, self._look_again,
                       tuple(self.replacing), {service: count for service, count in self.unplaced.items() if count})

    def _carry(self, service: str, node: str, count: int) -> None:
        self.load[node] += count
        self.carried[node][service] += count
        if (wanted := self.desired.get(service)) is not None:
            self.cpu[node] += count * wanted.cpu
            self.memory[node] += count * wanted.memory

    def _note_leaving(self, instance: Instance) -> None:
        node, wanted = self.nodes.get(instance.node), self.desired.get(instance.service)
        if node is not None and node.drain and (wanted is None or wanted.mode != "every-node"):
            self.leaving.add(node.name)

    def _free_name(self, base: str) -> str:
        """The lowest number that no instance has, those included that are about to stop: a name means one process."""
        number = self._numbers.get(base, 0) + 1
        while f"{base}-{number}" in self._names:
            number += 1
        self._numbers[base] = number
        name = f"{base}-{number}"
        self._names.add(name)
        return name


def permitted(wanted: Wanted, node: Node) -> bool:
    """Whether the node lives, and has the labels."""
    return node.alive and all(node.labels.get(key) == value for key, value in wanted.labels.items())


def number_of(instance: Instance) -> tuple[int, str]:
    """What instances are ordered by."""
    tail = instance.name.rpartition("-")[2]
    return (int(tail) if tail.isdecimal() else 0, instance.name)


def _apart(desired: Mapping[str, Wanted]) -> dict[str, set[str]]:
    """For each service those that it is kept apart from: it goes both ways."""
    found: dict[str, set[str]] = defaultdict(set)
    for wanted in desired.values():
        for other in wanted.apart:
            found[wanted.service].add(other)
            found[other].add(wanted.service)
    return found
