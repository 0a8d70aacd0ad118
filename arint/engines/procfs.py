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

    The start counts since boot; the time is what the process has used, in its own code and in the kernel. `parent` is a
    pid, `threads` how many it has.
    """

    state: str
    session: int
    start: int
    used: int
    parent: int = 0
    threads: int = 1

    @property
    def is_dead(self) -> bool:
        """A zombie no longer runs."""
        return self.state in _DEAD_STATES


def read_stat(pid: int) -> Stat | None:
    """The process's stat, None if there is no such process."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2:].split()  # the command's name may hold spaces and brackets
    return Stat(fields[0], int(fields[3]), int(fields[19]), int(fields[11]) + int(fields[12]), int(fields[1]),
                int(fields[17]))


def all_stats() -> dict[int, Stat]:
    """Every process there is, by pid."""
    pids = (int(name) for name in os.listdir(_PROC) if name.isdigit())  # noqa: PTH208 - names alone, many times a second
    return {pid: found for pid in pids if (found := read_stat(pid)) is not None}


def start_time(pid: int) -> int | None:
    """When the process started (clock ticks since boot); None if it is gone or a zombie, which no longer runs."""
    found = read_stat(pid)
    return None if found is None or found.is_dead else found.start


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


def private_bytes(pid: int) -> int:
    """The resident memory that is no file's; what it shares with its children since the fork is in it."""
    try:
        fields = (_PROC / str(pid) / "statm").read_text().split()
        return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def shared_fairly(pid: int) -> int:
    """The resident memory that is no file's, with what is shared divided among those that share it: exact, and slow."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return private_bytes(pid)
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))


def threads_of(user: int) -> int:
    """How many threads the processes of this user have."""
    found = 0
    for pid, stat in all_stats().items():
        try:
            found += stat.threads if (_PROC / str(pid)).stat().st_uid == user else 0
        except OSError:
            continue
    return found


def cpu_seconds(pid: int) -> float:
    """The processor's time that the process has used; 0 if it is gone."""
    found = read_stat(pid)
    return found.used / os.sysconf("SC_CLK_TCK") if found is not None else 0.0


def with_variable(variable: bytes, *, prefix: bool = False) -> Iterator[int]:
    """The pids of processes whose first environment held `variable` (b"NAME=value", or with `prefix` its beginning)."""
    for pid, values in _environments():
        if any(value.startswith(variable) for value in values) if prefix else variable in values:
            yield pid


def values_of(name: bytes) -> dict[bytes, list[int]]:
    """The processes whose first environment held the variable `name`, by its value."""
    found: dict[bytes, list[int]] = {}
    for pid, values in _environments():
        for value in values:
            if value.startswith(name + b"="):
                found.setdefault(value[len(name) + 1:], []).append(pid)
    return found


def _environments() -> Iterator[tuple[int, list[bytes]]]:
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:  # gone, or another user's
            continue
        yield int(entry.name), environment.split(b"\0")


def session_leaders_with(variable: bytes) -> Iterator[int]:
    """The pids of living session leaders whose first environment held `variable` (b"NAME=value")."""
    for pid in with_variable(variable):
        found = read_stat(pid)
        if found is not None and found.session == pid and not found.is_dead:
            yield pid
