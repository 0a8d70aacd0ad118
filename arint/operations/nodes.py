"""Nodes: how they stand, and what an administrator wants of them: labels, a cordon, a drain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from arint.administration.registry import administrative
from arint.availability.foreseeing import Move, moves
from arint.errors import ArintError, ConflictError, TimedOutError, UsageError
from arint.operations.progress import Progress, Step, silent
from arint.operations.situation import Situation, look
from arint.registry.records import Capacity, NodeRecord

if TYPE_CHECKING:
    from arint.operations.connect import Link

_POLL = 0.2
_TRIES = 5


class NodeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A node. `state`: ready, cordoned, draining, drained or away. `since` is when its agent started (seconds since the
    epoch); `rtt` how far it is from the node that was asked, in seconds for a round trip, where that was measured.
    """

    node: str
    state: str
    host: str
    release: str
    labels: dict[str, str]
    capacity: Capacity
    instances: int
    ready: int
    since: float = 0.0
    rtt: float | None = None
    cordoned: bool = False
    drain: str = ""
    leads: bool = False


class OnNode(msgspec.Struct, frozen=True, kw_only=True):
    """An instance of a node."""

    instance: str
    service: str
    state: str
    version: str
    error: str = ""


class NodeDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A node and all that is assigned to it."""

    node: NodeInfo
    instances: tuple[OnNode, ...]


class DrainArguments(msgspec.Struct, frozen=True, kw_only=True):
    """Which node, and how: `force` stops what no other node takes. `timeout` in seconds."""

    node: str
    force: bool = False
    dry_run: bool = False
    wait: bool = True
    timeout: float = 300.0


class Drained(msgspec.Struct, frozen=True, kw_only=True):
    """What moves, or has moved. `done`: nothing runs there any more."""

    node: str
    moves: tuple[Move, ...]
    done: bool


@administrative("viewer")
async def list_nodes(link: Link) -> list[NodeInfo]:
    """Every node of the cluster, by name."""
    found = await look(link)
    return [_info(record, found, link.config.node) for _, record in sorted(found.nodes.items())]


@administrative("viewer")
async def show_node(link: Link, name: str) -> NodeDetails:
    """One node. Raises NotFoundError."""
    found = await look(link)
    record = found.node(name)
    there = tuple(OnNode(instance=one.name, service=one.service, state=one.state, version=one.version, error=one.error)
                  for one in sorted(found.instances, key=lambda one: (one.service, one.name)) if one.node == name)
    return NodeDetails(node=_info(record, found, link.config.node), instances=there)


@administrative("operator")
async def cordon(link: Link, name: str) -> NodeInfo:
    """Give the node nothing new; what runs there stays. Raises NotFoundError."""
    return await _change(link, name, lambda record: msgspec.structs.replace(record, cordoned=True))


@administrative("operator")
async def uncordon(link: Link, name: str) -> NodeInfo:
    """Let the node be given instances again, also one that was drained. Raises NotFoundError."""
    return await _change(link, name, lambda record: msgspec.structs.replace(record, cordoned=False, drain=""))


@administrative("administrator")
async def label(link: Link, name: str, given: Mapping[str, str | None]) -> NodeInfo:
    """Set labels, and take those away that are None. Raises NotFoundError, UsageError for one that was not there."""

    def relabelled(record: NodeRecord) -> NodeRecord:
        unknown = sorted(key for key, value in given.items() if value is None and key not in record.labels)
        if unknown:
            raise UsageError(f"node {name} has no label {unknown[0]}", remedy="arintctl node list -o wide")
        labels = {**record.labels, **{key: value for key, value in given.items() if value is not None}}
        return msgspec.structs.replace(record, labels={
            key: value for key, value in sorted(labels.items()) if given.get(key, value) is not None})

    return await _change(link, name, relabelled)


@administrative("operator")
async def drain(link: Link, arguments: DrainArguments, progress: Progress = silent) -> Drained:
    """Move what the node runs to others, with no gap but for singletons, and wait until nothing is left there.

    The node is cordoned from then on, until `uncordon`. A drain that is interrupted goes on; asked for again, it is
    waited for. Raises NotFoundError, ConflictError with the reason where something has nowhere to go (unless by force),
    TimedOutError.
    """
    found = await look(link)
    found.node(arguments.node)
    foreseen = tuple(moves(found.desired, found.rollouts, found.machines, found.instances, arguments.node))
    if arguments.dry_run:
        return Drained(node=arguments.node, moves=foreseen, done=False)
    if not arguments.force:
        _refuse_stranded(foreseen, arguments.node)
    how = "force" if arguments.force else "move"
    await _change(link, arguments.node, lambda record: msgspec.structs.replace(record, cordoned=True, drain=how))
    if not arguments.wait:
        return Drained(node=arguments.node, moves=foreseen, done=False)
    await _until_empty(link, arguments, progress)
    return Drained(node=arguments.node, moves=foreseen, done=True)


def _refuse_stranded(foreseen: tuple[Move, ...], node: str) -> None:
    stranded = [move for move in foreseen if move.why]
    if stranded:
        told = "".join(f"\n  {move.instance}: {move.why}" for move in stranded)
        raise ConflictError(f"{len(stranded)} of {len(foreseen)} instances have nowhere to go:{told}",
                            where=f"node {node}", remedy="give them room (arintctl service why NAME tells more), or "
                                                         "stop them: --force")


async def _until_empty(link: Link, arguments: DrainArguments, progress: Progress) -> None:
    deadline = time.monotonic() + arguments.timeout
    said = ""
    while True:
        found = await look(link)
        record = found.node(arguments.node)
        if not record.drain:
            raise ConflictError("the drain was called off", where=f"node {arguments.node}",
                                remedy="somebody has uncordoned it: arintctl node list")
        left = sorted(one.name for one in found.instances if one.node == arguments.node)
        if not left:
            progress(Step(f"node {arguments.node} is drained", done=True))
            return
        told = f"{len(left)} left on {arguments.node}: {', '.join(left[:5])}{', …' if len(left) > 5 else ''}"
        if told != said:
            progress(Step(said := told))
        if time.monotonic() > deadline:
            raise TimedOutError(f"{told}, after {arguments.timeout:g} s", where=f"node {arguments.node}",
                                remedy="it goes on; arintctl service why NAME tells why one does not move, "
                                       "arintctl node uncordon calls it off")
        await asyncio.sleep(_POLL)


async def _change(link: Link, name: str, changed: Callable[[NodeRecord], NodeRecord]) -> NodeInfo:
    """Write the record of a node; done anew where its agent wrote meanwhile."""
    from arint.store.keys import Keys
    from arint.store.transactions import mod_revision_is, put

    key = Keys(link.config.cluster).node(name)
    for _ in range(_TRIES):
        found = await look(link)
        record = changed(found.node(name))
        result = await (await link.etcd()).txn([mod_revision_is(key, found.revisions[key])],
                                               [put(key, msgspec.json.encode(record))])
        if result.succeeded:
            return _info(record, found, link.config.node)
    raise ArintError("its record changed again and again", where=f"node {name}", remedy="try again")


def _info(record: NodeRecord, found: Situation, asked: str) -> NodeInfo:
    mine = [one for one in found.instances if one.node == record.name]
    alive, near = found.alive.get(record.name), found.near.get(asked)
    return NodeInfo(
        node=record.name, state=_state(record, is_alive=alive is not None, is_empty=not mine), host=record.host,
        release=record.release, labels=record.labels, capacity=record.capacity, instances=len(mine),
        ready=sum(one.state == "ready" for one in mine), since=alive.since if alive is not None else 0.0,
        rtt=near.seconds.get(record.name) if near is not None else None, cordoned=record.cordoned, drain=record.drain,
        leads=alive is not None and alive.settled >= 0)


def _state(record: NodeRecord, *, is_alive: bool, is_empty: bool) -> str:
    if not is_alive:
        return "away"
    if record.drain:
        return "drained" if is_empty else "draining"
    return "cordoned" if record.cordoned else "ready"
