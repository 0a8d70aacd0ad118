"""Waiting until what was declared runs; or telling, with the worker's own words, why it does not."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from arint.errors import ArintError, TimedOutError
from arint.operations.progress import Progress, Step, silent
from arint.resources.kinds import Channel, Resource, Service
from arint.resources.versions import version_of

if TYPE_CHECKING:
    from arint.home import Home
    from arint.operations.agent import AgentStatus, InstanceStatus
    from arint.operations.connect import Link

_POLL = 0.1
_SYSTEM = "system/"


async def wait_until_ready(link: Link, change_set: int, resources: Mapping[str, Resource], *, timeout: float,
                           progress: Progress = silent, concerned: Collection[str] | None = None,
                           sources: Mapping[str, Path] | None = None, look_again: float = _POLL) -> AgentStatus:
    """Wait until every instance that the resources ask for serves the change set.

    `concerned` are the services that this is about (default: all); what is wrong with others is not. `sources` is where
    code was packed, by its digest: errors then name those files. Raises ArintError with the traceback of a service that
    failed, TimedOutError after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    said = ""
    versions = {one.name: version_of(one) for one in resources.values() if isinstance(one, Service)}
    canaries = {one.name: min(one.update.canary, one.replicas) for one in resources.values()
                if isinstance(one, Service) and one.update.canary}
    while True:
        status = await link.agent.cluster()
        wanted = {service: count for service, count in wanted_instances(resources, status.nodes).items()
                  if concerned is None or service in concerned or service.startswith(_SYSTEM)}
        refuse_failed(status, change_set, wanted, versions, in_sources(link.home, sources or {}))
        late = late_instances(status, change_set, wanted) + missing_services(status, wanted)
        late += earlier_versions(status, wanted, versions, canaries)
        if not late and (status.change_set >= change_set or concerned is not None):
            progress(Step(f"change set {change_set} runs", done=True))
            return status
        waiting = f"waiting for {', '.join(late)}" if late else f"waiting for the agent to see change set {change_set}"
        if waiting != said:
            progress(Step(said := waiting))
        if time.monotonic() > deadline:
            raise TimedOutError(f"{waiting}, for {timeout:g} s", where=f"change set {change_set}",
                                remedy="it is applied and goes on; arintctl status shows how it stands, "
                                       "arintctl service why NAME where its instances may run")
        await asyncio.sleep(look_again)


def services_in(resources: Mapping[str, Resource]) -> set[str]:
    """The services that these resources are about: their own, and those of the system that carry their channels."""
    return ({one.name for one in resources.values() if isinstance(one, Service)}
            | {f"{_SYSTEM}{one.transport}" for one in resources.values() if isinstance(one, Channel)})


def wanted_instances(resources: Mapping[str, Resource], nodes: int = 1) -> dict[str, int]:
    """How many instances of each service there shall be on so many nodes, the system's own included. Pure.

    Of one that runs on every node with certain labels, at least one.
    """
    from arint.availability.desired import mode_of

    found = {f"{_SYSTEM}{one.transport}": nodes if mode_of(one.transport) == "every-node" else 1
             for one in resources.values() if isinstance(one, Channel)}
    for one in resources.values():
        if isinstance(one, Service):
            everywhere = one.mode == "every-node" and not one.placement.labels
            found[one.name] = one.replicas if one.mode == "replicated" else nodes if everywhere else 1
    return {f"{_SYSTEM}runner": nodes, **found}


def missing_services(status: AgentStatus, wanted: Mapping[str, int]) -> list[str]:
    """The services that have fewer instances than are wanted, whatever their state. Pure."""
    there = Counter(item.service for item in status.instances if item.state != "draining")
    return [service for service, count in wanted.items() if there[service] < count]


def late_instances(status: AgentStatus, change_set: int, wanted: Collection[str] | None = None) -> list[str]:
    """The instances (of the services that are wanted) that do not yet serve the change set.

    Those that leave do not count. Pure.
    """
    return [item.instance for item in status.instances
            if item.state != "draining" and (wanted is None or item.service in wanted)
            and (item.state != "ready" or item.change_set < change_set)]


def earlier_versions(status: AgentStatus, wanted: Collection[str], versions: Mapping[str, str],
                     canaries: Mapping[str, int] = {}) -> list[str]:
    """The instances that still serve in another version than their service shall be. Pure.

    `canaries`: services of which so many need be of the new version; the others wait until somebody promotes it.
    """
    updated = Counter(item.service for item in status.instances
                      if item.state == "ready" and item.version == versions.get(item.service))
    tried = {service for service, count in canaries.items() if updated[service] >= count}
    return [item.instance for item in status.instances
            if item.state != "draining" and item.service in wanted and item.service not in tried
            and item.version != versions.get(item.service, item.version)]


def in_sources(home: Home, sources: Mapping[str, Path]) -> Callable[[str], str]:
    """How to tell an error so that it names the files that were written, not the copies that are run."""
    places = {f"{home.artifact(digest)}{os.sep}": f"{folder}{os.sep}" for digest, folder in sources.items()}

    def told(error: str) -> str:
        for copy, written in places.items():
            error = error.replace(copy, written)
        return error

    return told


def refuse_failed(status: AgentStatus, change_set: int, wanted: Collection[str], versions: Mapping[str, str],
                  told: Callable[[str], str] = str) -> None:
    """Raise ArintError if an instance of the change set failed; one that nobody wants any more is about to leave.

    `versions`: what each service shall be. An instance of an earlier version that failed says nothing of this one.
    """
    for item in status.instances:
        if item.service in versions and item.version != versions[item.service]:
            continue
        if item.state == "failed" and item.change_set >= change_set and item.service in wanted:
            raise ArintError(f"{item.instance} failed\n{told(_words(item))}", where=f"node {status.node}",
                             remedy=f"correct it and apply again, or: arintctl rollback; more: "
                                    f"arintctl logs {item.instance}")


def _words(item: InstanceStatus) -> str:
    return item.error.rstrip() or "it gave no reason"
