"""How the cluster stands, and what there is by name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec

from arint.administration.registry import administrative
from arint.errors import ArintError
from arint.operations.agent import AgentStatus, EngineStatus, InstanceStatus
from arint.operations.open_letters import OpenLetters, open_letters

if TYPE_CHECKING:
    from arint.operations.connect import Link

_AT_ONCE = 32
"""Other nodes that are asked at the same time."""
_OTHERS_WITHIN = 1.5
EVERY = 1.0
NodeState = Literal["ready", "not ready", "lives", "silent", "away"]


class NodeStanding(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node. `memory` (bytes) is its agent's, `started` in seconds since the epoch.

    Little is known of one that is away or silent, and of one that only `lives`: a home that is no server's may not ask
    it more.
    """

    node: str
    state: NodeState
    version: str = ""
    change_set: int = 0
    pid: int = 0
    started: float = 0.0
    memory: int = 0
    metrics: str = ""
    limits: str = ""
    limits_why: str = ""
    error: str = ""


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """The cluster at one moment, asked at `node`. `change_set` is the one that all of this is about.

    `dead_letters` are those that wait for somebody; None where the broker was not asked, or did not tell.
    """

    cluster: str
    node: str
    ready: bool
    change_set: int = 0
    error: str = ""
    nodes: tuple[NodeStanding, ...] = ()
    engines: tuple[EngineStatus, ...] = ()
    instances: tuple[InstanceStatus, ...] = ()
    dead_letters: int | None = None


def standing_of(own: AgentStatus, others: Mapping[str, AgentStatus | str] | None = None) -> Standing:
    """The whole, from what the agent that was asked knows of all nodes, and others of themselves (or why not). Pure."""
    others = others or {}
    known = {name: one for name, one in others.items() if isinstance(one, AgentStatus)}
    nodes = [_of_node(own)]
    for name, lives in own.members.items():
        if name in known:
            nodes.append(_of_node(known[name]))
        elif name != own.node:
            why = others.get(name)
            state: NodeState = "away" if not lives else "lives" if why is None else "silent"
            nodes.append(NodeStanding(name, state, error=why if isinstance(why, str) else ""))
    told = [one for one in own.instances if one.node not in known]
    instances = [*told, *(item for one in known.values() for item in one.instances)]
    if known:
        instances.sort(key=lambda one: (one.instance, one.node))
    return Standing(
        cluster=own.cluster, node=own.node, ready=all(one.state in ("ready", "lives") for one in nodes),
        change_set=own.change_set, error=own.error, nodes=tuple(sorted(nodes, key=lambda one: one.node)),
        engines=tuple(msgspec.structs.replace(engine, node=one.node)
                      for one in sorted([own, *known.values()], key=lambda one: one.node) for engine in one.engines),
        instances=tuple(instances))


@administrative("viewer")
async def standing(link: Link, *, within: float = 5.0) -> Standing:
    """How the cluster stands. Raises UnreachableError, or TimedOutError after `within` seconds."""
    own = await link.agent.cluster(within=within)
    others = [name for name, lives in own.members.items() if lives and name != own.node]
    return standing_of(own, await _asked(link, others) if others and link.config.is_server else None)


@administrative("viewer")
async def standings(link: Link) -> AsyncIterator[Standing]:
    """How the cluster stands, once a second. Raises as `standing`."""
    async with OpenLetters(partial(open_letters, link)) as letters:
        while True:
            begin = time.monotonic()
            yield msgspec.structs.replace(await standing(link), dead_letters=await letters.latest())
            await asyncio.sleep(max(0.0, begin + EVERY - time.monotonic()))


async def _asked(link: Link, nodes: list[str]) -> dict[str, AgentStatus | str]:
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(node: str) -> AgentStatus | str:
        async with turns:
            try:
                return await (await link.agent_on(node)).status(within=_OTHERS_WITHIN)
            except (ArintError, ValueError) as error:
                return str(error)

    return dict(zip(nodes, await asyncio.gather(*map(one, nodes)), strict=True))


def _of_node(status: AgentStatus) -> NodeStanding:
    return NodeStanding(
        status.node, "ready" if status.ready else "not ready", version=status.version, change_set=status.change_set,
        pid=status.pid, started=status.started, memory=status.memory, metrics=status.metrics, limits=status.limits,
        limits_why=status.limits_why, error=status.error)


@administrative("viewer")
async def resource_keys(link: Link) -> list[str]:
    """The keys (`Kind/name`) of all resources."""
    head = await (await link.change_sets()).head()
    return list(head.resources) if head else []
