"""What processes print: of one instance, of a service's, of the agent and the engines, or of all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from arint.administration.registry import administrative
from arint.errors import NotFoundError

if TYPE_CHECKING:
    from arint.operations.connect import Link
    from arint.operations.standing import Standing

_QUEUE = 1000
_SYSTEM = "system/"
"""What the names of ARINT's own services begin with; nobody has to type it."""


class LogArguments(msgspec.Struct, frozen=True, kw_only=True):
    """Whose lines: names of instances, services or processes of the node; none for all instances. `node`: only there.

    `<name>@<node>` is the process of that name on that node.
    """

    names: tuple[str, ...] = ()
    follow: bool = False
    lines: int = 100
    node: str = ""


class Line(msgspec.Struct, frozen=True):
    """One line, and who printed it."""

    instance: str
    line: str
    is_one_of_several: bool
    widest: int = 0
    """Characters of the longest name among them."""


class Teller(NamedTuple):
    """A process: its name on its node, and what it is called here."""

    node: str
    process: str
    name: str


@administrative("viewer")
async def read(link: Link, arguments: LogArguments) -> AsyncIterator[Line]:
    """The lines, of several processes as they come.

    Raises NotFoundError for a name that nobody has, UnreachableError where a node does not answer.
    """
    from arint.operations.standing import standing

    found = await standing(link)
    tellers = chosen(found, arguments.names, arguments.node)
    widest = max((len(one.name) for one in tellers), default=0)
    waiting: asyncio.Queue[Line | None] = asyncio.Queue(_QUEUE)
    nodes = list(dict.fromkeys(one.node for one in tellers))
    agents = {node: await link.agent_on(node) for node in nodes}

    async def of_node(node: str) -> None:
        names = {one.process: one.name for one in tellers if one.node == node}
        try:
            async for line in agents[node].logs(names, follow=arguments.follow, lines=arguments.lines):
                await waiting.put(Line(names[line.instance], line.line, len(tellers) > 1, widest))
        finally:
            waiting.put_nowait(None) if not waiting.full() else await waiting.put(None)

    async with asyncio.TaskGroup() as tasks:
        for node in nodes:
            tasks.create_task(of_node(node))
        open_ones = len(nodes)
        while open_ones:
            item = await waiting.get()
            if item is None:
                open_ones -= 1
            else:
                yield item


def chosen(standing: Standing, names: tuple[str, ...], node: str = "") -> list[Teller]:
    """The processes that the names mean. Pure. Raises NotFoundError."""
    from arint.resources.problems import nearest

    nodes = [one.node for one in standing.nodes if one.state in ("ready", "not ready", "lives")]
    if node and node not in nodes:
        raise NotFoundError(f"no node {node!r} answers", remedy=nearest(node, nodes) or "arintctl node list")
    processes: dict[str, list[Teller]] = {}
    by_service: dict[str, list[Teller]] = {}
    every: list[Teller] = []
    for item in standing.instances:
        if item.node in nodes and node in ("", item.node):
            teller = Teller(item.node, item.instance, item.instance)
            if teller not in every:
                every.append(teller)
                processes.setdefault(item.instance, []).append(teller)
                by_service.setdefault(item.service, []).append(teller)
                by_service.setdefault(item.service.removeprefix(_SYSTEM), by_service[item.service])
    many = len(nodes) > 1 and not node
    for name, at in [*(("agent", one) for one in nodes), *((one.name, one.node) for one in standing.engines)]:
        if node in ("", at):
            called = f"{name}@{at}" if many else name
            processes.setdefault(name, []).append(Teller(at, name, called))
    processes |= {f"{one.process}@{one.node}": [one] for several in processes.values() for one in several}
    if not names:
        return every
    found: list[Teller] = []
    for name in names:
        meant = processes.get(name) or by_service.get(name, [])
        if not meant:
            raise NotFoundError(f"there is no instance, service or engine {name!r}",
                                remedy=nearest(name, [*processes, *by_service]))
        found += meant
    return list(dict.fromkeys(found))
