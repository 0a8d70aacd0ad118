"""The action log, past and present: one record for each attempt of each stage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from arint.actions import Action
from arint.administration.registry import administrative
from arint.errors import ArintError, UnreachableError
from arint.operations import trail
from arint.runtime.tracebacks import user_line

if TYPE_CHECKING:
    from arint.operations.agent import AgentStatus
    from arint.operations.connect import Link

_LOOKED_THROUGH = 10_000
"""Records to read where only some outcomes are wanted: a rare one is not among the newest few."""

_QUEUE = 1000
_AGAIN = 1.0
"""Seconds after which an agent that is away is asked again."""


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which records; empty words ask for all."""

    flow: str = ""
    outcome: str = ""
    limit: int = 50


@administrative("viewer")
async def past(link: Link, wanted: EventFilter) -> list[Action]:
    """The newest records in the order of storing, which holds when a clock jumps; the oldest first."""
    if not wanted.limit:
        return []
    limit = max(wanted.limit, _LOOKED_THROUGH) if wanted.outcome else wanted.limit
    found = await trail.newest_actions(await link.bus(), flow=wanted.flow, limit=limit)
    newest = [record for record in found if fits(record, wanted)][:wanted.limit][::-1]
    try:
        versions = failed_versions(await link.agent.status())
    except UnreachableError:  # the log is there all the same
        versions = []
    return merged(newest, [record for record in versions if fits(record, wanted)])[-wanted.limit:]


def failed_versions(status: AgentStatus) -> list[Action]:
    """The versions of services that did not come up, and that nobody has replaced since: events as well. Pure."""
    return [Action(root="", message="", flow=f"service/{item.service}", stage="version", attempt=1, at=item.started,
                   node=item.node, instance=item.instance, outcome="failed", error=item.error,
                   error_at=user_line(item.error), change_set=item.change_set)
            for item in status.instances if item.state == "failed" and item.role == "service"]


def merged(records: list[Action], others: list[Action]) -> list[Action]:
    """The records in their order, the others where their time puts them. Pure."""
    result = list(records)
    for one in others:
        place = next((index for index, record in enumerate(result) if record.at > one.at), len(result))
        result.insert(place, one)
    return result


@administrative("viewer")
async def present(link: Link, wanted: EventFilter) -> AsyncIterator[Action]:
    """Records as they are stored, and versions as they are found failed, until the caller stops.

    Raises UnreachableError where the bus goes away. An agent that is away is asked again.
    """
    waiting: asyncio.Queue[Action | ArintError] = asyncio.Queue(_QUEUE)

    async def attend(records: AsyncIterator[Action]) -> None:
        try:
            async for record in records:
                await waiting.put(record)
        except ArintError as error:
            await waiting.put(error)

    tasks = [asyncio.create_task(attend(trail.follow_actions(await link.bus())), name="records"),
             asyncio.create_task(attend(_failing(link)), name="versions")]
    try:
        while True:
            found = await waiting.get()
            if isinstance(found, ArintError):
                raise found
            if fits(found, wanted):
                yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _failing(link: Link) -> AsyncIterator[Action]:
    """The versions that fail from now on, each once."""
    known: set[tuple[str, str]] | None = None
    while True:
        with suppress(ArintError, OSError, msgspec.MsgspecError):
            async for status in link.agent.follow():
                failed = {(one.instance, one.error): one for one in failed_versions(status)}
                for key, record in failed.items():
                    if known is not None and key not in known:
                        yield record
                known = set(failed)
        await asyncio.sleep(_AGAIN)


def fits(record: Action, wanted: EventFilter) -> bool:
    """Whether a record was asked for. Pure."""
    return ((not wanted.flow or record.flow == wanted.flow)
            and (not wanted.outcome or record.outcome == wanted.outcome))
