"""Whether the broker has room for the streams of a configuration: told before anything of it is stored.

The broker sets aside what each stream may hold (`arint.bus.streams.set_aside`) when it makes the stream, and makes none
that goes beyond its store. Without this look a flow would be applied first, and fail to start then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from arint.errors import ArintError, TimedOutError, UnreachableError
from arint.operations.inventory import spoken
from arint.resources.kinds import Connection, Flow, Resource, Service
from arint.text import octets_text

if TYPE_CHECKING:
    from arint.operations.connect import Link

_MOST_TOLD = 3


async def refuse_without_room(link: Link, resources: Mapping[str, Resource]) -> None:
    """Raises ArintError where the streams of all these resources do not fit into the broker's store.

    A broker that does not answer refuses nothing: whoever applies waits for what runs on it anyway.
    """
    from arint.bus.streams import reserved
    from arint.engines.nats import store_limit

    limit = store_limit(link.home)
    if limit is None:  # no broker runs on this node
        return
    try:
        standing = await reserved(await link.bus())
    except (UnreachableError, TimedOutError):
        return
    needed = set_aside_for(resources)
    told = shortage({stream: size for stream, (_, size) in needed.items()}, standing, limit)
    if told is None:
        return
    grown = sorted(((size - standing.get(stream, 0), key) for stream, (key, size) in needed.items()), reverse=True)
    largest = ", ".join(f"{spoken(key)} {octets_text(more)}" for more, key in grown[:_MOST_TOLD] if more > 0)
    raise ArintError(f"the broker has no room for the streams: all of them may hold {octets_text(told)}, its store "
                     f"{octets_text(limit)}; new are {largest}", where=str(link.home.nats),
                     remedy="lower max_bytes of flows; or free the disk, then arintctl down and arintctl up")


def shortage(needed: Mapping[str, int], standing: Mapping[str, int], limit: int) -> int | None:
    """What all streams may hold, if that is more than the broker's store and grows; None where they fit. Pure.

    `needed` are those of the configuration, `standing` those that are there already, others among them.
    """
    whole = sum({**standing, **needed}.values())
    return whole if whole > limit and whole > sum(standing.values()) else None


def set_aside_for(resources: Mapping[str, Resource]) -> dict[str, tuple[str, int]]:
    """For each stream of these resources: whose it is, and how much the broker sets aside for it. Pure."""
    from arint.bus.streams import IMPLICIT_BYTES, set_aside
    from arint.bus.subjects import flow_of, stream_of
    from arint.flows import compile_flow, implicit_program
    from arint.resources.quantities import octets

    flows = {one.name: one for one in resources.values() if isinstance(one, Flow)}
    found = {}
    for key, one in resources.items():
        if isinstance(one, Flow):
            stages, limit, token = len(compile_flow(one, flows).stages), octets(one.max_bytes), one.name
        elif isinstance(one, Service | Connection):
            token = flow_of("service" if isinstance(one, Service) else "connection", one.name)
            stages, limit = len(implicit_program(token).stages), IMPLICIT_BYTES
        else:
            continue
        found[stream_of(token)] = (key, max(set_aside(limit, stages), 0))
    return found
