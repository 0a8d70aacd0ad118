"""What processes print: of one instance, of a service's, of the agent and the engines, or of all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from arint.administration.registry import administrative
from arint.errors import NotFoundError

if TYPE_CHECKING:
    from arint.operations.agent import AgentStatus
    from arint.operations.connect import Link

_QUEUE = 1000
_SYSTEM = "system/"
"""What the names of ARINT's own services begin with; nobody has to type it."""


class LogArguments(msgspec.Struct, frozen=True, kw_only=True):
    """Whose lines: names of instances, services or engines; none for all instances."""

    names: tuple[str, ...] = ()
    follow: bool = False
    lines: int = 100


class Line(msgspec.Struct, frozen=True):
    """One line, and who printed it."""

    instance: str
    line: str
    is_one_of_several: bool
    widest: int = 0
    """Characters of the longest name among them."""


@administrative("viewer")
async def read(link: Link, arguments: LogArguments) -> AsyncIterator[Line]:
    """The lines, of several instances as they come. Raises NotFoundError for a name that nobody has."""
    instances = chosen(await link.agent.status(), arguments.names)
    widest = max(map(len, instances), default=0)
    waiting: asyncio.Queue[Line | None] = asyncio.Queue(_QUEUE)

    async def one(instance: str) -> None:
        try:
            async for line in link.agent.logs(instance, follow=arguments.follow, lines=arguments.lines):
                await waiting.put(Line(instance, line.line, len(instances) > 1, widest))
        finally:
            waiting.put_nowait(None) if not waiting.full() else await waiting.put(None)

    async with asyncio.TaskGroup() as tasks:
        for instance in instances:
            tasks.create_task(one(instance))
        open_ones = len(instances)
        while open_ones:
            item = await waiting.get()
            if item is None:
                open_ones -= 1
            else:
                yield item


def chosen(status: AgentStatus, names: tuple[str, ...]) -> list[str]:
    """The processes that the names mean. Pure. Raises NotFoundError."""
    by_service: dict[str, list[str]] = {}
    for item in status.instances:
        by_service.setdefault(item.service, []).append(item.instance)
    for service in [name for name in by_service if name.startswith(_SYSTEM)]:
        by_service.setdefault(service.removeprefix(_SYSTEM), by_service[service])
    every = [item.instance for item in status.instances]
    if not names:
        return every
    engines = ["agent", *(engine.name for engine in status.engines)]
    found: list[str] = []
    for name in names:
        meant = [name] if name in every or name in engines else by_service.get(name, [])
        if not meant:
            from arint.resources.problems import nearest

            raise NotFoundError(f"there is no instance, service or engine {name!r}",
                                remedy=nearest(name, [*every, *by_service, *engines]))
        found += meant
    return list(dict.fromkeys(found))
