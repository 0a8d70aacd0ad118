"""From what a service declares to numbers, and from what was measured to words. Pure."""

from __future__ import annotations

import msgspec

from arint.resources.kinds import Limits
from arint.resources.quantities import octets

SHARE = 0.5
"""Of the machine's memory: what an instance may use that declares nothing. A leak then ends it, not the machine."""
LEAST_MEMORY = 48 * 2**20
"""A worker that has just started uses so much; with less it would never serve."""
_PERIOD = 100_000
_LEAST_QUOTA = 1000
_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


class Ceiling(msgspec.Struct, frozen=True):
    """What one instance may use, with all that it starts: bytes of memory, processors (0: all), processes and threads.

    `is_declared` tells whether the memory is the service's own word.
    """

    memory: int
    cpu: float = 0.0
    processes: int = 512
    is_declared: bool = True


class Usage(msgspec.Struct, frozen=True):
    """What an instance uses: bytes of memory, processes and threads."""

    memory: int = 0
    processes: int = 0


def ceiling_of(limits: Limits, machine: int) -> Ceiling:
    """What a service declares, on a machine with so many bytes of memory."""
    memory = octets(limits.memory) if limits.memory is not None else int(machine * SHARE)
    return Ceiling(max(memory, LEAST_MEMORY), limits.cpu or 0.0, limits.processes, limits.memory is not None)


def cpu_max(cpu: float) -> str:
    """The line for `cpu.max`: half a processor is 50 of every 100 ms."""
    return f"{max(int(cpu * _PERIOD), _LEAST_QUOTA)} {_PERIOD}" if cpu else f"max {_PERIOD}"


def excess(usage: Usage, ceiling: Ceiling) -> str:
    """Why an instance has to be ended; empty while it keeps within its limits."""
    if usage.memory > ceiling.memory:
        return out_of_memory(ceiling, "the agent")
    if usage.processes > ceiling.processes:
        return (f"it had {usage.processes} processes and threads of the {ceiling.processes} allowed: "
                "ended by the agent (see resources.processes)")
    return ""


def out_of_memory(ceiling: Ceiling, by: str) -> str:
    """An instance that met its limit, in words that stand wherever its end is told of."""
    whose = "its" if ceiling.is_declared else "half of the machine's memory,"
    return f"it used {whose} {told(ceiling.memory)}: ended by {by} (see resources.memory)"


def told(size: int) -> str:
    """Bytes as people say them: `256 MiB`."""
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} B"
