"""Without control groups: limits of the kernel for each process, and for all of an instance together the agent's eye.

What is weaker: memory and processes of an instance are added up once a second (more often near the limit), so that they
may be over their limit for a moment; `cpu` only lets others go first; what leaves its session and loses its parent
between two looks is found again by its environment, some seconds later, unless it has cleared that; and nothing stops a
root process from forking faster than it is counted.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from collections.abc import Mapping

import msgspec

from arint.engines.procfs import Stat, all_stats, private_bytes, shared_fairly, threads_of, with_variable
from arint.limits.ceiling import Ceiling, Usage

SLACK = 768 * 2**20
"""What a process may map beyond its limit: stacks of threads are counted in full, though hardly used."""
YIELDING = 5
"""The niceness of a service that declares `cpu`."""
_ROUNDS = 50
_BETWEEN = 0.004


class Member(msgspec.Struct, frozen=True):
    """A process of an instance; a pid alone names nobody."""

    pid: int
    start: int


def hold(pid: int, ceiling: Ceiling, user: int) -> None:
    """Set the limits of a process just started, for it and all that it will start. `user`: who it will be."""
    data = ceiling.memory + ceiling.memory // 4 + SLACK
    _set(pid, resource.RLIMIT_DATA, data)
    if user:  # the kernel does not hold root to it
        _set(pid, resource.RLIMIT_NPROC, threads_of(user) + ceiling.processes)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, YIELDING if ceiling.cpu else 0)


def members_of(pid: int, known: frozenset[Member], stats: Mapping[int, Stat]) -> frozenset[Member]:
    """The instance of the process `pid`: its session, its descendants, whoever was known as such and lives. Pure."""
    found = {one.pid for one in known if (stat := stats.get(one.pid)) and stat.start == one.start}
    found |= {other for other, stat in stats.items() if pid in (other, stat.session)}
    children: dict[int, list[int]] = {}
    for other, stat in stats.items():
        children.setdefault(stat.parent, []).append(other)
    waiting = list(found)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return frozenset(Member(one, stats[one].start) for one in found if one in stats)


def usage_of(members: frozenset[Member], stats: Mapping[int, Stat], ceiling: Ceiling) -> Usage:
    """What they use together. What they share counts once, where that makes a difference."""
    memory = sum(private_bytes(one.pid) for one in members)
    if memory > ceiling.memory and len(members) > 1:
        memory = sum(shared_fairly(one.pid) for one in members)
    return Usage(memory, sum(stats[one.pid].threads for one in members if one.pid in stats))


def kill(pid: int, known: frozenset[Member], mark: bytes) -> None:
    """End an instance, round after round, until none of it is left that could start another."""
    for _ in range(_ROUNDS):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        stats = all_stats()
        known = members_of(pid, known, stats)
        marked = set(with_variable(mark)) if mark else set()
        left = {one.pid for one in known} | marked
        left = {one for one in left if one in stats and not stats[one].is_dead and one != os.getpid()}
        for one in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(one, signal.SIGKILL)
        if not left:
            return
        time.sleep(_BETWEEN)


def _set(pid: int, what: int, wanted: int) -> None:
    """Lower what is higher; nobody but root may raise a hard limit again."""
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.prlimit(pid, what)
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.prlimit(pid, what, (soft, hard))

