"""The action log, past and present: one record for each attempt of each stage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from arint.operations import trail

if TYPE_CHECKING:
    from arint.actions import Action
    from arint.operations.connect import Link

_LOOKED_THROUGH = 10_000
"""Records to read where only some outcomes are wanted: a rare one is not among the newest few."""


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which records; empty words ask for all."""

    flow: str = ""
    outcome: str = ""
    limit: int = 50


async def past(link: Link, wanted: EventFilter) -> list[Action]:
    """The newest records in the order of storing, which holds when a clock jumps; the oldest first."""
    if not wanted.limit:
        return []
    limit = max(wanted.limit, _LOOKED_THROUGH) if wanted.outcome else wanted.limit
    found = await trail.newest_actions(await link.bus(), flow=wanted.flow, limit=limit)
    return [record for record in found if fits(record, wanted)][:wanted.limit][::-1]


async def present(link: Link, wanted: EventFilter) -> AsyncIterator[Action]:
    """Records as they are stored, until the caller stops."""
    async for record in trail.follow_actions(await link.bus()):
        if fits(record, wanted):
            yield record


def fits(record: Action, wanted: EventFilter) -> bool:
    """Whether a record was asked for. Pure."""
    return ((not wanted.flow or record.flow == wanted.flow)
            and (not wanted.outcome or record.outcome == wanted.outcome))
