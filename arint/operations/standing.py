"""How the node stands, and what there is by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arint.administration.registry import administrative
from arint.operations.agent import AgentStatus

if TYPE_CHECKING:
    from arint.operations.connect import Link


@administrative("viewer")
async def node_status(link: Link, *, within: float = 5.0) -> AgentStatus:
    """Where the node stands. Raises UnreachableError, or TimedOutError after `within` seconds."""
    return await link.agent.status(within=within)


@administrative("viewer")
async def resource_keys(link: Link) -> list[str]:
    """The keys (`Kind/name`) of all resources."""
    head = await (await link.change_sets()).head()
    return list(head.resources) if head else []
