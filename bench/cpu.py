"""What processes use: CPU seconds, resident and proportional memory, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mib(pid: int) -> tuple[float, float]:
    """RSS and PSS. PSS shares out what several processes map (Python itself, libraries)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    known = {name: int(rest.split()[0]) / 1024 for name, _, rest in (line.partition(":") for line in lines[1:])}
    return known["Rss"], known["Pss"]
