"""What placement decides upon, from what stands in etcd. Pure, but for the memory of when states were first seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from arint.availability.model import Instance, Node, State
from arint.registry.records import Alive, Assignment, NodeRecord, Registration


def nodes(records: Iterable[NodeRecord], alive: Iterable[Alive]) -> list[Node]:
    """Every node that belongs to the cluster."""
    living = {one.node for one in alive}
    return [Node(name=one.name, labels=one.labels, alive=one.name in living, cordoned=one.cordoned, drain=one.drain,
                 cpu=one.capacity.cpu, memory=one.capacity.memory) for one in records]


class Watch:
    """Since when each instance has been in its state, on the watcher's own clock: clocks of nodes may differ."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[State, float]] = {}

    def instances(self, assignments: Iterable[Assignment], registrations: Iterable[Registration],
                  now: float) -> list[Instance]:
        """Every assignment, and what still runs though its assignment is gone."""
        running = {(one.node, one.instance): one for one in registrations}
        found = list(_merged({(one.node, one.instance): one for one in assignments}, running))
        before, self._seen = self._seen, {}
        result = []
        for instance in found:
            key = (instance.node, instance.name)
            state, since = before.get(key, (instance.state, now))
            self._seen[key] = (instance.state, since if state == instance.state else now)
            result.append(_since(instance, self._seen[key][1]))
        return result


def _merged(assigned: Mapping[tuple[str, str], Assignment],
            running: Mapping[tuple[str, str], Registration]) -> Iterator[Instance]:
    for key, one in assigned.items():
        seen = running.get(key)
        known = seen is not None and (seen.service, seen.version) == (one.service, one.version)
        yield Instance(service=one.service, name=one.instance, version=one.version, node=one.node,
                       round=one.round, state=seen.state if seen is not None and known else "starting",
                       error=seen.error if seen is not None and known else "")
    for key, gone in running.items():
        if key not in assigned:
            yield Instance(service=gone.service, name=gone.instance, version=gone.version, node=gone.node,
                           state="draining")


def _since(instance: Instance, since: float) -> Instance:
    return msgspec.structs.replace(instance, since=since)
