"""The cluster at one look, and what moved since the look before: a pure fold over how it stands.

`overview_of(status, before, …)` makes each Overview from the newest standing and the Overview before it, so that one
value holds everything that the console draws and `arintctl overview -o json` prints.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from arint.operations.agent import EngineStatus, InstanceStatus
from arint.operations.standing import NodeStanding, Standing

SHORTEST = 0.5
"""Seconds between two statuses below which rates are not measured anew: both came out of one buffer."""
MOST_FAILURES = 50
FailureKind = Literal["away", "failed", "not ready", "restarted", "attempts", "dead letters", "circuit"]


class Counts(msgspec.Struct, frozen=True):
    """Messages since a process started. `processed` counts stages: one for each place that a message passed."""

    accepted: int = 0
    processed: int = 0
    failed: int = 0
    dead: int = 0


class Rates(msgspec.Struct, frozen=True):
    """Messages a second."""

    accepted: float = 0.0
    processed: float = 0.0
    failed: float = 0.0
    dead: float = 0.0


class NodeView(msgspec.Struct, frozen=True):
    """A node. `instances` run on it; `memory` in bytes is of everything on it that ARINT started."""

    node: str
    state: str
    version: str
    pid: int
    started: float
    memory: int
    instances: int
    error: str = ""

    @property
    def ready(self) -> bool:
        """Whether all that is needed runs on it."""
        return self.state == "ready"


class EngineView(msgspec.Struct, frozen=True):
    """An engine of a node. `memory` in bytes."""

    name: str
    ready: bool
    version: str
    pid: int
    restarts: int
    started: float
    memory: int
    error: str = ""
    node: str = ""


class InstanceView(msgspec.Struct, frozen=True):
    """One worker process. `rates` are None until two looks at the same process could be compared."""

    instance: str
    service: str
    role: str
    node: str
    state: str
    version: str
    change_set: int
    pid: int
    restarts: int
    started: float
    memory: int
    in_flight: int
    counts: Counts
    rates: Rates | None
    error: str = ""
    last_end: str = ""


class ServiceView(msgspec.Struct, frozen=True):
    """A service: its instances summed up. `ready` of `instances` serve."""

    service: str
    state: str
    ready: int
    instances: int
    in_flight: int
    counts: Counts
    rates: Rates | None
    error: str = ""


class CircuitView(msgspec.Struct, frozen=True):
    """A connection that is away: since when (seconds since the epoch), and which instances wait for it."""

    connection: str
    since: float
    instances: tuple[str, ...]


class Failure(msgspec.Struct, frozen=True):
    """What went wrong with whom, when last, and how often."""

    at: float
    who: str
    kind: FailureKind
    text: str
    count: int = 1


class Totals(msgspec.Struct, frozen=True):
    """The whole cluster in one line.

    `dead_letters` are those that wait for somebody, of whatever age; `counts.dead` are deaths since processes started:
    a message that was replayed and died again is two of those and one letter. None: the broker did not tell.
    """

    counts: Counts
    rates: Rates | None
    in_flight: int
    open_circuits: int
    ready: int
    instances: int
    dead_letters: int | None = None


class Overview(msgspec.Struct, frozen=True):
    """Everything at one moment. `at` is in seconds since the epoch, `interval` in seconds: what rates are over."""

    at: float
    interval: float
    cluster: str
    node: str
    change_set: int
    ready: bool
    totals: Totals
    nodes: tuple[NodeView, ...]
    engines: tuple[EngineView, ...]
    services: tuple[ServiceView, ...]
    instances: tuple[InstanceView, ...]
    circuits: tuple[CircuitView, ...]
    failures: tuple[Failure, ...]
    error: str = ""


def overview_of(standing: Standing, before: Overview | None = None, *, at: float, elapsed: float = 0.0) -> Overview:
    """The overview after `before`, which is `elapsed` seconds old (by a clock that does not jump)."""
    from arint.operations.incidents import added, incidents

    old = {identity(item): item for item in before.instances} if before else {}
    instances = tuple(_instance(item, old.get(identity(item)), elapsed) for item in standing.instances)
    circuits = _circuits(standing.instances)
    now = Overview(
        at=at, interval=elapsed if before else 0.0, cluster=standing.cluster, node=standing.node,
        change_set=standing.change_set, ready=standing.ready, error=standing.error,
        totals=_totals(instances, circuits, standing.dead_letters),
        nodes=tuple(_node(one, standing) for one in standing.nodes), engines=tuple(map(_engine, standing.engines)),
        services=_services(instances), instances=instances, circuits=circuits, failures=())
    known = before.failures if before else ()
    return msgspec.structs.replace(now, failures=added(known, incidents(now, before), most=MOST_FAILURES))


def identity(item: InstanceStatus | InstanceView) -> tuple[str, str, str]:
    """By what an instance is known from look to look: a failed version may stand beside the one that serves."""
    return item.node, item.instance, item.version


def _engine(one: EngineStatus) -> EngineView:
    return EngineView(name=one.name, ready=one.ready, version=one.version, pid=one.pid, restarts=one.restarts,
                      started=one.started, memory=one.memory, error=one.error, node=one.node)


def _instance(item: InstanceStatus, before: InstanceView | None, elapsed: float) -> InstanceView:
    counts = Counts(item.accepted, item.processed, item.failed, item.dead)
    same = before is not None and before.pid == item.pid
    if same and before is not None:
        counts = _never_less(counts, before.counts)
    return InstanceView(
        instance=item.instance, service=item.service, role=item.role, node=item.node, state=item.state,
        version=item.version, change_set=item.change_set, pid=item.pid, restarts=item.restarts, started=item.started,
        memory=item.memory, in_flight=item.in_flight, error=item.error, last_end=item.last_end, counts=counts,
        rates=_rates(counts, before, elapsed) if same and before is not None else None)


def _never_less(counts: Counts, before: Counts) -> Counts:
    """Counters of a process only grow; a restarted agent shows zeros until the worker beats again."""
    return Counts(*(max(new, old) for new, old in zip(_numbers(counts), _numbers(before), strict=True)))


def _rates(counts: Counts, before: InstanceView, elapsed: float) -> Rates | None:
    if before.state == "starting":  # its counters were not known yet: all of the past would count as this second's
        return None
    if elapsed < SHORTEST:
        return before.rates
    return Rates(*((new - old) / elapsed for new, old in zip(_numbers(counts), _numbers(before.counts), strict=True)))


def _numbers(counts: Counts) -> tuple[int, int, int, int]:
    return counts.accepted, counts.processed, counts.failed, counts.dead


def _services(instances: Iterable[InstanceView]) -> tuple[ServiceView, ...]:
    """The users' services first, then the system's."""
    by_service: dict[str, list[InstanceView]] = {}
    for item in instances:
        by_service.setdefault(item.service or item.instance, []).append(item)
    order = sorted(by_service, key=lambda name: (name.startswith("system/"), name))
    return tuple(_service(name, by_service[name]) for name in order)


def _service(name: str, members: list[InstanceView]) -> ServiceView:
    serving = [item for item in members if item.state != "draining"]
    ready = sum(item.state == "ready" for item in serving)
    return ServiceView(
        service=name, state=_service_state(serving, ready), ready=ready, instances=len(serving),
        in_flight=sum(item.in_flight for item in members), counts=_sum_counts(members), rates=_sum_rates(members),
        error=next((item.error for item in members if item.error), ""))


def _service_state(serving: list[InstanceView], ready: int) -> str:
    if not serving:
        return "draining"
    if ready == len(serving):
        return "ready"
    if any(item.state == "failed" for item in serving):
        return "degraded" if ready else "failed"
    return "starting"


def _sum_counts(members: Iterable[InstanceView]) -> Counts:
    return Counts(*map(sum, zip(*(_numbers(item.counts) for item in members), strict=True)))


def _sum_rates(members: Iterable[InstanceView]) -> Rates | None:
    """The sum of those that are known; None where none is."""
    known = [item.rates for item in members if item.rates is not None]
    if not known:
        return None
    return Rates(accepted=sum(one.accepted for one in known), processed=sum(one.processed for one in known),
                 failed=sum(one.failed for one in known), dead=sum(one.dead for one in known))


def _circuits(instances: Iterable[InstanceStatus]) -> tuple[CircuitView, ...]:
    """One for each connection, from the earliest; several instances may have found the same one away."""
    found: dict[str, CircuitView] = {}
    for item in instances:
        for connection, since in item.circuits.items():
            seen = found.get(connection, CircuitView(connection, since, ()))
            found[connection] = CircuitView(connection, min(since, seen.since), (*seen.instances, item.instance))
    return tuple(sorted(found.values(), key=lambda circuit: (circuit.since, circuit.connection)))


def _totals(instances: tuple[InstanceView, ...], circuits: tuple[CircuitView, ...],
            dead_letters: int | None) -> Totals:
    serving = [item for item in instances if item.state != "draining"]
    return Totals(counts=_sum_counts(instances), rates=_sum_rates(instances),
                  in_flight=sum(item.in_flight for item in instances), open_circuits=len(circuits),
                  ready=sum(item.state == "ready" for item in serving), instances=len(serving),
                  dead_letters=dead_letters)


def _node(one: NodeStanding, status: Standing) -> NodeView:
    of_it = [item for item in status.instances if item.node == one.node]
    engines = [engine for engine in status.engines if engine.node == one.node]
    memory = one.memory + sum(engine.memory for engine in engines) + sum(item.memory for item in of_it)
    return NodeView(node=one.node, state=one.state, version=one.version, pid=one.pid, started=one.started,
                    memory=memory, instances=len(of_it), error=one.error)
