"""What the kernel tells of a process. A pid alone names nobody: pids are used again, so the start time goes with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_DEAD_STATES = frozenset("ZXx")


class Stat(NamedTuple):
    """From /proc/PID/stat: the state's letter, the session's id, the start and the processor's time in clock ticks.

    The start counts since boot; the time is what the process has used, in its own code and in the kernel.
    """

    state: str
    session: int
    start: int
    used: int


def read_stat(pid: int) -> Stat | None:
    """The process's stat, None if there is no such process."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2:].split()  # the command's name may hold spaces and brackets
    return Stat(fields[0], int(fields[3]), int(fields[19]), int(fields[11]) + int(fields[12]))


def start_time(pid: int) -> int | None:
    """When the process started (clock ticks since boot); None if it is gone or a zombie, which no longer runs."""
    found = read_stat(pid)
    return None if found is None or found.state in _DEAD_STATES else found.start


def boot_id() -> str:
    """Which boot this is: start times count from it."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def memory_bytes(pid: int) -> int:
    """The resident memory; 0 if the process is gone."""
    try:
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def cpu_seconds(pid: int) -> float:
    """The processor's time that the process has used; 0 if it is gone."""
    found = read_stat(pid)
    return found.used / os.sysconf("SC_CLK_TCK") if found is not None else 0.0


def session_leaders_with(variable: bytes) -> Iterator[int]:
    """The pids of living session leaders whose first environment held `variable` (b"NAME=value")."""
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:  # gone, or another user's
            continue
        pid = int(entry.name)
        if variable in environment.split(b"\0"):
            found = read_stat(pid)
            if found is not None and found.session == pid and found.state not in _DEAD_STATES:
                yield pid
