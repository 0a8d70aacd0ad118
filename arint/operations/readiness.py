"""Whether this node serves: its agent says so, and a message passes through the bus as this node sends it."""

from __future__ import annotations

import asyncio
import time

import msgspec

from arint.errors import ArintError, TimedOutError, UnreachableError
from arint.operations.agent import AgentStatus
from arint.operations.connect import Link
from arint.operations.probe import pass_a_message
from arint.operations.progress import Progress, Step, silent

_POLL = 0.05
_AGAIN = 0.3


class Ready(msgspec.Struct, frozen=True):
    """The node, and how long it took, in seconds."""

    node: str
    cluster: str
    took: float
    status: AgentStatus


async def wait_ready(link: Link, timeout: float, progress: Progress = silent) -> Ready:
    """Wait until the node is ready, and prove it. Raises TimedOutError that says what was missing."""
    begun, said = time.monotonic(), "the agent does not answer"
    config = link.config
    while (left := begun + timeout - time.monotonic()) > 0:
        try:
            status = await link.agent.status(within=min(2.0, left))
        except (UnreachableError, TimedOutError):
            await asyncio.sleep(_POLL)
            continue
        said = _missing(status)
        if status.ready:
            try:
                async with asyncio.timeout(max(0.1, begun + timeout - time.monotonic())):
                    await pass_a_message(await link.bus())
            except (ArintError, TimeoutError) as error:
                said = f"no message passes through the bus: {error or 'no answer'}"
                await asyncio.sleep(_AGAIN)
                continue
            return Ready(config.node, config.cluster, time.monotonic() - begun, status)
        progress(Step(said))
        await asyncio.sleep(_POLL)
    raise TimedOutError(f"the node is not ready after {timeout:g} s: {said}", where=config.node,
                        remedy="arintctl doctor, on that machine, tells more")


def _missing(status: AgentStatus) -> str:
    waiting = [engine.name for engine in status.engines if not engine.ready]
    waiting += [instance.instance for instance in status.instances if instance.state != "ready"]
    return status.error or (f"waiting for {', '.join(waiting)}" if waiting else "waiting for the agent")
