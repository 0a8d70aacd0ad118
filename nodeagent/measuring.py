"""The node's metrics: what the agent knows of its processes, and what its workers have counted. Pure but for procfs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from arint.engines.procfs import cpu_seconds
from arint.meters import snapshot
from arint.meters.snapshot import Kind, Point, Snapshot
from arint.operations.agent import AgentStatus, EngineStatus, InstanceStatus
from nodeagent.workers import Worker

log = logging.getLogger(__name__)
Row = tuple[tuple[str, ...], float]

_OF_WORKER = ("worker", "service")
FAMILIES: dict[str, tuple[Kind, str, tuple[str, ...]]] = {
    "arint_build_info": ("gauge", "Always 1; the labels say which release runs.", ("version", "node", "cluster")),
    "arint_node_ready": ("gauge", "1 while the node's engines and runner are ready, and it holds its lease.", ()),
    "arint_change_set": ("gauge", "The change set by which everything runs.", ()),
    "arint_engine_up": ("gauge", "1 while the engine answers.", ("engine",)),
    "arint_engine_restarts_total": ("counter", "Starts of an engine after its first.", ("engine",)),
    "arint_worker_ready": ("gauge", "1 while the instance is ready.", _OF_WORKER),
    "arint_worker_restarts_total": ("counter", "Starts of an instance's process after its first.", _OF_WORKER),
    "arint_messages_accepted_total": ("counter", "Messages that channels have stored.", _OF_WORKER),
    "arint_messages_processed_total": ("counter", "Stages of messages that are done.", _OF_WORKER),
    "arint_messages_failed_total": ("counter", "Attempts that failed and will be made again.", _OF_WORKER),
    "arint_messages_dead_total": ("counter", "Messages that became dead letters.", _OF_WORKER),
    "arint_messages_in_flight": ("gauge", "Messages taken and not yet settled.", _OF_WORKER),
    "arint_circuit_open": ("gauge", "1 while a connection's system is away; absent otherwise.",
                           (*_OF_WORKER, "connection")),
    "arint_process_resident_memory_bytes": ("gauge", "Resident memory of a process.", ("process",)),
    "arint_process_cpu_seconds_total": ("counter", "The processor's time that a process has used.", ("process",)),
    "arint_process_start_time_seconds": ("gauge", "When a process started, since the epoch.", ("process",)),
}
"""What the agent itself tells: kind, help, labels."""


def of_node(status: AgentStatus) -> Iterator[Snapshot]:
    """What the agent knows at this moment."""
    yield _family("arint_build_info", [((status.version, status.node, status.cluster), 1.0)])
    yield _family("arint_node_ready", [((), float(status.ready))])
    yield _family("arint_change_set", [((), float(status.change_set))])
    yield from _of_engines(status.engines)
    running = [one for one in status.instances if one.pid]  # a version that was given up has no process any more
    yield from _of_instances(running)
    yield from _of_processes([("agent", status), *((one.name, one) for one in status.engines),
                              *((one.instance, one) for one in running)])


def of_worker(worker: Worker) -> Iterator[Snapshot]:
    """What a worker has counted, with its name."""
    try:
        counted = snapshot.decode(worker.measures or b"[]")
    except ValueError as error:  # a worker of another release
        log.debug("the measures of %s cannot be read: %s", worker.task.instance, error)
        return
    for one in counted:
        yield one.labelled(worker=worker.task.instance, service=worker.task.service)


def _of_engines(engines: Sequence[EngineStatus]) -> Iterator[Snapshot]:
    yield _family("arint_engine_up", [((one.name,), float(one.ready)) for one in engines])
    yield _family("arint_engine_restarts_total", [((one.name,), one.restarts) for one in engines])


def _of_instances(instances: Sequence[InstanceStatus]) -> Iterator[Snapshot]:
    def each(name: str, field: str) -> Snapshot:
        return _family(name, [((one.instance, one.service), float(getattr(one, field))) for one in instances])

    yield _family("arint_worker_ready", [((one.instance, one.service), float(one.state == "ready"))
                                         for one in instances])
    yield each("arint_worker_restarts_total", "restarts")
    for word in ("accepted", "processed", "failed", "dead"):
        yield each(f"arint_messages_{word}_total", word)
    yield each("arint_messages_in_flight", "in_flight")
    yield _family("arint_circuit_open", [((one.instance, one.service, name), 1.0)
                                         for one in instances for name in one.circuits])


def _of_processes(processes: Sequence[tuple[str, AgentStatus | EngineStatus | InstanceStatus]]) -> Iterator[Snapshot]:
    yield _family("arint_process_resident_memory_bytes", [((name,), float(one.memory)) for name, one in processes])
    yield _family("arint_process_cpu_seconds_total", [((name,), cpu_seconds(one.pid)) for name, one in processes])
    yield _family("arint_process_start_time_seconds", [((name,), one.started) for name, one in processes])


def _family(name: str, rows: Sequence[Row]) -> Snapshot:
    kind, told, labels = FAMILIES[name]
    return Snapshot(name, kind, told, labels, tuple(Point(*row) for row in rows))
