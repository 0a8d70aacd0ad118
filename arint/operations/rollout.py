"""Waiting until what was declared runs; or telling, with the worker's own words, why it does not."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from arint.errors import ArintError, TimedOutError
from arint.operations.progress import Progress, Step, silent
from arint.resources.kinds import Channel, Resource, Service
from arint.resources.versions import version_of

if TYPE_CHECKING:
    from arint.operations.agent import AgentStatus, InstanceStatus
    from arint.operations.connect import Link

_POLL = 0.1


async def wait_until_ready(link: Link, change_set: int, resources: Mapping[str, Resource], *, timeout: float,
                           progress: Progress = silent) -> AgentStatus:
    """Wait until every instance that the resources ask for serves the change set.

    Raises ArintError with the traceback of a service that failed, TimedOutError after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    said = ""
    wanted = wanted_instances(resources)
    versions = {one.name: version_of(one) for one in resources.values() if isinstance(one, Service)}
    while True:
        status = await link.agent.status()
        refuse_failed(status, change_set, wanted, versions)
        late = late_instances(status, change_set) + missing_services(status, wanted)
        if not late and status.change_set >= change_set:
            progress(Step(f"change set {change_set} runs", done=True))
            return status
        waiting = f"waiting for {', '.join(late)}" if late else f"waiting for the agent to see change set {change_set}"
        if waiting != said:
            progress(Step(said := waiting))
        if time.monotonic() > deadline:
            raise TimedOutError(f"{waiting}, for {timeout:g} s", where=f"change set {change_set}",
                                remedy="it is applied and goes on; arintctl status shows how it stands")
        await asyncio.sleep(_POLL)


def wanted_instances(resources: Mapping[str, Resource]) -> dict[str, int]:
    """How many instances of each service there shall be on one machine, the system's own included. Pure."""
    found = {f"system/{one.transport}": 1 for one in resources.values() if isinstance(one, Channel)}
    for one in resources.values():
        if isinstance(one, Service):
            found[one.name] = one.replicas if one.mode == "replicated" else 1
    return {"system/runner": 1, **found}


def missing_services(status: AgentStatus, wanted: Mapping[str, int]) -> list[str]:
    """The services that have fewer instances than are wanted, whatever their state. Pure."""
    there = Counter(item.service for item in status.instances if item.state != "draining")
    return [service for service, count in wanted.items() if there[service] < count]


def late_instances(status: AgentStatus, change_set: int) -> list[str]:
    """The instances that do not yet serve the change set; those that leave do not count. Pure."""
    return [item.instance for item in status.instances
            if item.state != "draining" and (item.state != "ready" or item.change_set < change_set)]


def refuse_failed(status: AgentStatus, change_set: int, wanted: Collection[str],
                  versions: Mapping[str, str]) -> None:
    """Raise ArintError if an instance of the change set failed; one that nobody wants any more is about to leave.

    `versions`: what each service shall be. An instance of an earlier version that failed says nothing of this one.
    """
    for item in status.instances:
        if item.service in versions and item.version != versions[item.service]:
            continue
        if item.state == "failed" and item.change_set >= change_set and item.service in wanted:
            raise ArintError(f"{item.instance} failed\n{_words(item)}", where=f"node {status.node}",
                             remedy=f"correct it and apply again, or: arintctl rollback; more: "
                                    f"arintctl logs {item.instance}")


def _words(item: InstanceStatus) -> str:
    return item.error.rstrip() or "it gave no reason"
