"""What the agent tells of its node: built from what it knows at the moment it is asked."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from arint.availability.desired import ADMIN, RUNNER, SYSTEM
from arint.engines.procfs import memory_bytes
from arint.home import NodeConfig
from arint.limits.fence import Way
from arint.operations.agent import AgentStatus, EngineStatus, InstanceStatus
from nodeagent.views import Views
from nodeagent.workers import Worker

_STARTED = time.time()


def instance_status(worker: Worker, node: str) -> InstanceStatus:
    """One worker."""
    told = worker.registration()
    beat = worker.beat
    return InstanceStatus(
        instance=told.instance, service=told.service, role=role_of(told.service), node=node, state=told.state,
        version=told.version, change_set=worker.change_set, pid=told.pid, restarts=worker.restarts,
        started=worker.process.started or 0.0, memory=worker.process.memory, processed=told.processed,
        failed=told.failed, dead=told.dead, accepted=told.accepted, in_flight=told.in_flight,
        circuits=dict(beat.circuits) if beat is not None else {}, error=told.error, last_end=worker.last_end.why,
        ended=worker.last_end.at)


def role_of(service: str) -> str:
    """The role of a service's workers."""
    if service == RUNNER:
        return "runner"
    if service == ADMIN:
        return "admin"
    return "source" if service.startswith(SYSTEM) else "service"


def elsewhere(views: Views, node: str) -> list[InstanceStatus]:
    """What other nodes that live have registered."""
    served = {one.node: one.change_set for one in views.alive.snapshot.values()}
    return [InstanceStatus(instance=one.instance, service=one.service, role=role_of(one.service), node=one.node,
                           state=one.state, version=one.version, change_set=served[one.node], pid=one.pid,
                           processed=one.processed, failed=one.failed, dead=one.dead, accepted=one.accepted,
                           in_flight=one.in_flight, error=one.error)
            for one in views.instances.snapshot.values() if one.node != node and one.node in served]


def working_nodes(views: Views) -> int:
    """How many nodes run instances: they live, and are not drained."""
    records = views.nodes.snapshot
    return sum(one.node not in records or not records[one.node].drain for one in views.alive.snapshot.values())


def served_by_all(workers: Iterable[Worker], change_set: int, before: int) -> int:
    """The newest change set by which every worker here serves, or has failed; `before` while one is on its way."""
    done = all(worker.change_set >= change_set and worker.registration().state != "starting" for worker in workers)
    return change_set if done else before


def given_up(views: Views, declared: dict[str, str], change_set: int, node: str) -> list[InstanceStatus]:
    """Versions that are declared (service -> version) yet failed and were gone back from.

    They are shown as the failed instance that each of them was, until another version is declared.
    """
    return [InstanceStatus(instance=rollout.instance, service=service, role=role_of(service), node=node, state="failed",
                           version=rollout.failed, change_set=change_set, started=rollout.at, error=rollout.error)
            for service, rollout in sorted(views.rollouts.snapshot.items())
            if rollout.failed and not rollout.aborted and declared.get(service) == rollout.failed]


def agent_status(config: NodeConfig, release: str, engines: list[EngineStatus], instances: list[InstanceStatus], *,
                 change_set: int, member: bool, drained: bool, error: str, metrics: str = "",
                 limits: Way) -> AgentStatus:
    """The whole. `member`: the node holds its lease; `change_set`: the one that all of this is about.

    `drained`: nothing needs to run here.
    """
    runs = drained or any(one.service == RUNNER and one.state == "ready" for one in instances)
    ready = bool(engines) == config.is_server and all(one.ready for one in engines) and member and runs
    return AgentStatus(node=config.node, cluster=config.cluster, pid=os.getpid(), version=release, ready=ready,
                       change_set=change_set, started=_STARTED, memory=memory_bytes(os.getpid()),
                       engines=tuple(engines), instances=tuple(instances), metrics=metrics, error=error,
                       limits=limits.name, limits_why=limits.why)


