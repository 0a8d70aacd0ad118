"""The placement loop of the one agent that leads: look, decide, write fenced by the election, look again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import msgspec

from arint.availability import observed
from arint.availability.configuration import Configuration
from arint.availability.desired import wanted
from arint.availability.model import Changes, Rollout
from arint.availability.placement import plan
from arint.errors import ArintError, ConflictError
from arint.registry.records import Assignment
from arint.resources.versions import version_of
from arint.store.connection import Etcd
from arint.store.election import Election, fenced
from arint.store.failures import LeaseLostError
from arint.store.keys import Keys
from arint.store.transactions import MAX_OPERATIONS, Compare, Operation, absent, delete, mod_revision_is, put
from arint.store.view import View
from nodeagent.bell import Bell
from nodeagent.source import Source
from nodeagent.views import Views

log = logging.getLogger(__name__)

_CATCH_UP = 2.0
_PAUSE = 0.2


class _Write(NamedTuple):
    """One operation, the view in which it will be seen, and what must be true for it."""

    view: View[Any]
    operation: Operation
    compare: Compare | None = None


class Placing:
    """Decides for the whole cluster while its node leads.

    `settled` is the change set for which nothing is left to be placed or replaced, as of `settled_at` (the version of
    the view of assignments); -1 while this node does not lead, or something is left.
    """

    def __init__(self, node: str, etcd: Etcd, keys: Keys, views: Views, source: Source, bell: Bell,
                 release: str) -> None:
        self.settled = -1
        self.settled_at = 0
        self.leading = False
        self._node = node
        self._etcd = etcd
        self._keys = keys
        self._views = views
        self._source = source
        self._bell = bell
        self._release = release
        self._watch = observed.Watch()
        self._unplaced: dict[str, int] = {}

    async def lead(self, election: Election) -> None:
        """Place while the election is held. Raises LeaseLostError at its end."""
        self.leading = True
        self._watch = observed.Watch()
        try:
            while True:
                rings = self._bell.rings
                await self._bell.wait(rings, await self._step(election))
        finally:
            self.leading, self.settled = False, -1

    async def _step(self, election: Election) -> float | None:
        """One decision; returns in how many seconds to look again even if nothing rings."""
        if self._node not in self._views.alive.snapshot:
            return _PAUSE  # our own lease is not seen yet: what is seen is older than our leadership
        configuration, now = self._source.configuration, time.monotonic()
        if configuration.number != self._views.head_number:
            return None  # it is being loaded; the bell rings then
        version = self._views.assignments.version
        changes = self._decide(configuration, now)
        self._tell_unplaced(changes)
        writes = list(self._writes(changes, configuration))
        if writes:
            self.settled = -1
            await self._write(election, writes)
            return 0.0
        was = self.settled
        self.settled, self.settled_at = (-1 if changes.replacing else configuration.number), version
        if was != self.settled:
            self._bell.ring()
        return None if changes.look_again is None else max(0.01, changes.look_again - now)

    def _decide(self, configuration: Configuration, now: float) -> Changes:
        views = self._views
        instances = self._watch.instances(views.assignments.snapshot.values(), views.instances.snapshot.values(), now)
        nodes = observed.nodes(views.nodes.snapshot.values(), views.alive.snapshot.values())
        return plan(wanted(configuration, self._release), views.rollouts.snapshot, nodes, instances, now)

    def _tell_unplaced(self, changes: Changes) -> None:
        """Once, and again when it changes."""
        for service, count in changes.unplaced.items():
            if self._unplaced.get(service) != count:
                log.warning("%s: no node takes %d more: arintctl service why %s", service, count, service)
        self._unplaced = dict(changes.unplaced)

    def _writes(self, changes: Changes, configuration: Configuration) -> Iterator[_Write]:
        """Rollouts first: that a version was given up must be known before what proves it is gone."""
        views, keys = self._views, self._keys
        for service, rollout in changes.rollouts.items():
            _tell(service, rollout)
            key = keys.rollout(service)
            operation = delete(key) if rollout is None else put(key, msgspec.json.encode(_dated(rollout)))
            # Who promotes, aborts or restarts writes there too: what they asked for is not written over unseen.
            yield _Write(views.rollouts, operation, mod_revision_is(key, views.rollouts.mod_revision(service)))
        for stop in changes.stop:
            log.info("stop %s on %s: %s", stop.name, stop.node, stop.reason)
            yield _Write(views.assignments, delete(keys.assignment(stop.node, stop.name)))
        for start in changes.start:
            log.info("start %s on %s", start.name, start.node)
            key = keys.assignment(start.node, start.name)
            assignment = Assignment(instance=start.name, service=start.service, version=start.version, node=start.node,
                                    revision=start.revision, round=start.round)
            yield _Write(views.assignments, put(key, msgspec.json.encode(assignment)), absent(key))
        for one in self._renamed(configuration, {stop.name for stop in changes.stop}):
            key = keys.assignment(one.node, one.instance)
            yield _Write(views.assignments, put(key, msgspec.json.encode(one)))

    def _renamed(self, configuration: Configuration, stopped: set[str]) -> Iterator[Assignment]:
        """Instances that go on under a new revision which needs no new process: the old one may be swept."""
        revisions = {(service.name, version_of(service)): configuration.revisions[f"Service/{service.name}"]
                     for service in configuration.services.values()}
        for one in self._views.assignments.snapshot.values():
            newer = revisions.get((one.service, one.version), one.revision)
            if newer != one.revision and one.instance not in stopped:
                yield msgspec.structs.replace(one, revision=newer)

    async def _write(self, election: Election, writes: list[_Write]) -> None:
        try:
            for first in range(0, len(writes), MAX_OPERATIONS):
                part = writes[first:first + MAX_OPERATIONS]
                compares = [fenced(election), *(one.compare for one in part if one.compare is not None)]
                result = await self._etcd.txn(compares, [one.operation for one in part])
                if not result.succeeded:
                    raise ConflictError("what was decided upon has changed", where="placement")
                await self._catch_up({id(one.view): one.view for one in part}.values(), result.revision)
        except LeaseLostError:
            raise
        except ArintError as error:
            log.warning("placement is decided again: %s", error)
            await asyncio.sleep(_PAUSE)

    async def _catch_up(self, views: Collection[View[Any]], revision: int) -> None:
        """Wait until our own writes are seen, else the next decision would be the same again."""
        rings, deadline = self._bell.rings, time.monotonic() + _CATCH_UP
        while any(view.revision < revision for view in views) and time.monotonic() < deadline:
            rings = await self._bell.wait(rings, 0.2)


def _dated(rollout: Rollout) -> Rollout:
    """With the time at which its version was given up."""
    return msgspec.structs.replace(rollout, at=time.time()) if rollout.failed and not rollout.at else rollout


def _tell(service: str, rollout: Rollout | None) -> None:
    if rollout is not None and rollout.failed:
        log.warning("%s: version %s is given up, %s stays: %s", service, rollout.failed, rollout.stable, rollout.error)
    elif rollout is not None:
        log.info("%s: version %s is stable", service, rollout.stable)
