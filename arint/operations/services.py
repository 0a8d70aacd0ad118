"""Services over the cluster: how they stand, why they are where they are; restart, scale, and canaries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from arint.administration.registry import administrative
from arint.availability.board import Board
from arint.availability.explaining import Explanation, explain
from arint.availability.model import Rollout, Wanted, is_given_up, is_trial
from arint.availability.placement import plan
from arint.errors import ArintError, ConflictError, TimedOutError
from arint.operations.configuration import Applied
from arint.operations.progress import Progress, Step, silent
from arint.operations.situation import Situation, declared, look

if TYPE_CHECKING:
    from arint.operations.configuration import Applied
    from arint.operations.connect import Link

_POLL = 0.2
_TRIES = 5
_NOW = 0.0
"""Who looks only once does not know for how long anything has been so."""


class ServiceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A service. `desired` counts what is wanted in the whole cluster, canaries not; `updated` are those of the
    declared version. `state`: ready, starting, replacing, canary, kept back (its new version was given up), failed, or
    no place.
    """

    service: str
    mode: str
    state: str
    desired: int
    ready: int
    updated: int
    nodes: tuple[str, ...]
    version: str
    stable: str = ""
    error: str = ""


class Restarted(msgspec.Struct, frozen=True, kw_only=True):
    """A service that was asked to restart. `done`: each of its instances is a new process."""

    service: str
    round: int
    instances: int
    done: bool


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided about a service's new version: `promoted` or `aborted`. `done`: it runs so everywhere."""

    service: str
    decision: str
    version: str
    done: bool


@administrative("viewer")
async def list_services(link: Link) -> list[ServiceInfo]:
    """Every service, the system's own among them, by name."""
    found = await look(link)
    eye = _Eye(found)
    return sorted(map(eye.info, found.desired), key=lambda one: one.service)


@administrative("viewer")
async def why(link: Link, service: str) -> Explanation:
    """Why each instance of a service is where it is, and why each node does or does not take one more.

    Raises NotFoundError.
    """
    found = await look(link)
    found.wanted(service)
    return explain(service, found.desired, found.rollouts, found.machines, found.instances, _NOW)


@administrative("operator")
async def restart(link: Link, service: str, *, dry_run: bool = False, wait: bool = True, timeout: float = 120.0,
                  progress: Progress = silent) -> Restarted:
    """Replace every instance by a new process of the same version, as an update does: `max_parallel` at a time.

    Raises NotFoundError, TimedOutError.
    """
    found = await look(link)
    count = sum(one.service == service for one in found.assignments)
    now = found.rollouts.get(service, Rollout())
    found.wanted(service)
    if dry_run:
        return Restarted(service=service, round=now.round + 1, instances=count, done=False)
    asked = await _decide(link, service, lambda wanted, rollout: msgspec.structs.replace(
        rollout, round=rollout.round + 1))
    progress(Step(f"{service}: each of {count} instances is replaced"))
    if wait:
        await _until(link, service, timeout, progress, lambda found: _late(found, service, asked.round))
    return Restarted(service=service, round=asked.round, instances=count, done=wait)


@administrative("administrator")
async def scale(link: Link, service: str, replicas: int, *, dry_run: bool = False, wait: bool = True,
                timeout: float = 60.0, progress: Progress = silent) -> Applied:
    """Declare another number of replicas: a change set, as an apply makes one.

    Raises NotFoundError, ConflictError where its mode does not count replicas or head moved meanwhile.
    """
    from arint.operations.configuration import Applied, changes_between, commit, finish
    from arint.resources.kinds import key_of

    found = await look(link)
    before = declared(found, service)
    if before.mode == "every-node" and replicas > 1:
        raise ConflictError("it runs once on every node, however many are declared", where=f"service/{service}",
                            remedy="declare another mode, or labels: placement")
    if before.mode == "singleton" and replicas > 1:
        raise ConflictError("it is a singleton: one runs at the most", where=f"service/{service}",
                            remedy="declare mode: replicated")
    after = msgspec.structs.replace(before, replicas=replicas)
    existing = found.configuration.resources
    resources = {**existing, key_of(after): after}
    changes = changes_between(existing, resources)
    head = found.configuration.number
    if dry_run or not changes:
        return Applied(change_set=head, changes=changes, ready=False)
    head = await commit(link, resources, head, "", f"scale service/{service} from {before.replicas} to {replicas}")
    return await finish(link, head, resources, changes, wait, timeout, progress, answers_for={key_of(after): after})


@administrative("administrator")
async def promote(link: Link, service: str, *, dry_run: bool = False, wait: bool = True, timeout: float = 120.0,
                  progress: Progress = silent) -> Decided:
    """Let the version of the canaries take over everywhere.

    Raises NotFoundError, ConflictError where no canary waits or one is not ready, TimedOutError.
    """

    def promoted(wanted: Wanted, rollout: Rollout) -> Rollout:
        if not is_trial(wanted, rollout):
            raise ConflictError("no canary waits", where=f"service/{service}",
                                remedy="arintctl service why " + service)
        return msgspec.structs.replace(rollout, promoted=wanted.version)

    found = await look(link)
    version = found.wanted(service).version
    promoted(found.wanted(service), found.rollouts.get(service, Rollout()))
    _refuse_unready(found, service, version)
    if not dry_run:
        await _decide(link, service, promoted)
        if wait:
            await _until(link, service, timeout, progress, lambda found: _other(found, service, version))
    return Decided(service=service, decision="promoted", version=version, done=wait and not dry_run)


@administrative("administrator")
async def abort(link: Link, service: str, *, reason: str = "", dry_run: bool = False, wait: bool = True,
                timeout: float = 120.0, progress: Progress = silent) -> Decided:
    """Give up the new version, canaries or an update under way: the stable one runs again everywhere.

    Raises NotFoundError, ConflictError where none is under way, TimedOutError.
    """
    from arint.operations.configuration import whoami

    def aborted(wanted: Wanted, rollout: Rollout) -> Rollout:
        if not rollout.stable or wanted.version in (rollout.stable, rollout.failed):
            raise ConflictError("no new version is under way", where=f"service/{service}",
                                remedy="arintctl rollback goes back to an earlier change set")
        told = f"aborted by {whoami()}" + (f": {reason}" if reason else "")
        return Rollout(stable=rollout.stable, revision=rollout.revision, failed=wanted.version, error=told,
                       at=time.time(), aborted=True, round=rollout.round)

    found = await look(link)
    wanted, rollout = found.wanted(service), found.rollouts.get(service, Rollout())
    aborted(wanted, rollout)
    if not dry_run:
        await _decide(link, service, aborted)
        if wait:
            await _until(link, service, timeout, progress, lambda found: _other(found, service, rollout.stable))
    return Decided(service=service, decision="aborted", version=wanted.version, done=wait and not dry_run)


async def _decide(link: Link, service: str, change: Callable[[Wanted, Rollout], Rollout]) -> Rollout:
    """Write the rollout of a service; done anew where the placement wrote meanwhile."""
    from arint.store.keys import Keys
    from arint.store.transactions import mod_revision_is, put

    key = Keys(link.config.cluster).rollout(service)
    for _ in range(_TRIES):
        found = await look(link)
        rollout = change(found.wanted(service), found.rollouts.get(service, Rollout()))
        result = await (await link.etcd()).txn([mod_revision_is(key, found.revisions.get(key, 0))],
                                               [put(key, msgspec.json.encode(rollout))])
        if result.succeeded:
            return rollout
    raise ArintError("its rollout changed again and again", where=f"service/{service}", remedy="try again")


async def _until(link: Link, service: str, timeout: float, progress: Progress,
                 late: Callable[[Situation], list[str]]) -> None:
    """Wait until `late` names nobody any more, and as many as are wanted are ready."""
    deadline, said = time.monotonic() + timeout, ""
    while True:
        found = await look(link)
        info = _Eye(found).info(found.wanted(service))
        waiting = late(found)
        if not waiting and info.ready >= info.desired:
            progress(Step(f"{service}: {info.ready} ready", done=True))
            return
        told = f"waiting for {', '.join(waiting)}" if waiting else f"{service}: {info.ready} of {info.desired} ready"
        if told != said:
            progress(Step(said := told))
        if time.monotonic() > deadline:
            raise TimedOutError(f"{told}, after {timeout:g} s", where=f"service/{service}",
                                remedy=f"it goes on; arintctl service why {service} tells how it stands")
        await asyncio.sleep(_POLL)


def _late(found: Situation, service: str, round_: int) -> list[str]:
    """Instances of an earlier round, those that leave among them."""
    assigned = {one.instance: one for one in found.assignments if one.service == service}
    leaving = {one.instance for one in found.registrations if one.service == service} - assigned.keys()
    return sorted(leaving | {name for name, one in assigned.items() if one.round < round_})


def _other(found: Situation, service: str, version: str) -> list[str]:
    """Instances of another version."""
    return sorted(one.name for one in found.instances if one.service == service and one.version != version)


def _refuse_unready(found: Situation, service: str, version: str) -> None:
    unready = [one.name for one in found.instances
               if one.service == service and one.version == version and one.state != "ready"]
    ready = any(one.service == service and one.version == version and one.state == "ready" for one in found.instances)
    if unready or not ready:
        raise ConflictError(f"the canary is not ready: {', '.join(unready) or 'it has not started'}",
                            where=f"service/{service}", remedy=f"arintctl logs {unready[0] if unready else service}")


class _Eye:
    """What placement makes of a situation, asked once for all services."""

    def __init__(self, found: Situation) -> None:
        self.found = found
        self.instances = found.instances
        self.changes = plan(found.desired, found.rollouts, found.machines, self.instances, _NOW)
        self.board = Board(found.desired, found.machines, self.instances, _NOW)

    def info(self, wanted: Wanted) -> ServiceInfo:
        rollout = self.found.rollouts.get(wanted.service, Rollout())
        mine = self.board.by_service.get(wanted.service, [])
        present = [one for one in mine if one.state != "draining"]
        errors = [one.error for one in mine if one.error]
        info = ServiceInfo(
            service=wanted.service, mode=wanted.mode, desired=self._desired(wanted), state="",
            ready=sum(one.state == "ready" for one in present),
            updated=sum(one.version == wanted.version for one in present),
            nodes=tuple(sorted({one.node for one in present})), version=wanted.version, stable=rollout.stable,
            error=errors[0] if errors else rollout.error)
        return msgspec.structs.replace(info, state=self._state(wanted, rollout, info))

    def _desired(self, wanted: Wanted) -> int:
        if wanted.mode != "every-node":
            return wanted.count
        return wanted.count * sum(self.board.may_run(wanted, node) for node in self.board.nodes.values())

    def _state(self, wanted: Wanted, rollout: Rollout, info: ServiceInfo) -> str:
        service, mine = wanted.service, self.board.by_service.get(wanted.service, [])
        if self.changes.unplaced.get(service):
            return "no place"
        if any(one.state == "failed" for one in mine):
            return "failed"
        if is_trial(wanted, rollout):
            return "canary"
        if service in self.changes.replacing or any(one.state == "draining" for one in mine):
            return "replacing"
        if is_given_up(wanted, rollout):
            return "kept back"
        return "ready" if info.ready >= info.desired else "starting"
