"""What stands around one instance: everything in it is counted together, and ends together."""

from __future__ import annotations

import logging
import os
from functools import cached_property
from pathlib import Path
from typing import Protocol

import msgspec

from arint.engines.procfs import Stat, all_stats, values_of
from arint.errors import ArintError
from arint.limits import cgroup, rlimits
from arint.limits.ceiling import Ceiling, Usage, excess, out_of_memory

log = logging.getLogger(__name__)

MARK = "ARINT_FENCE"
"""In the environment of all that an instance starts: by it is found what has left its session and lost its parent."""
WEAKER = "memory and processes are added up once a second, cpu only yields to others"


class Look:
    """One look at the machine's processes, taken when first asked for, and shared by all fences."""

    def __init__(self, *, for_strays: bool = False) -> None:
        self._for_strays = for_strays

    @cached_property
    def stats(self) -> dict[int, Stat]:
        """Every process."""
        return all_stats()

    @cached_property
    def marked(self) -> dict[bytes, list[int]]:
        """The processes with a mark of ours, by mark, where this look is for strays: it reads every environment."""
        return values_of(MARK.encode()) if self._for_strays else {}


class Fence(Protocol):
    """Used from one event loop, none of it waits. `near`: it used more than half of what it may when last looked at."""

    near: bool

    def enter(self, pid: int) -> None:
        """The process has just been started, or adopted: from now on it is held to the limits."""
        ...

    def limit(self, ceiling: Ceiling) -> None:
        """From now on these."""
        ...

    def look(self, look: Look) -> str:
        """Why it has to be ended now; empty while it keeps within its limits."""
        ...

    def kill(self) -> None:
        """End everything in it."""
        ...

    def left(self) -> str:
        """Its process has ended: end what it left behind; why it ended, where that was the limit's doing."""
        ...


class Way(msgspec.Struct, frozen=True):
    """How limits are enforced on this node, and why so."""

    name: str
    """`cgroup` or `rlimits`."""
    why: str


class Fences:
    """Those of one home."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._groups: cgroup.Groups | None = None
        try:
            self._groups = cgroup.find(home, named=os.environ.get("ARINT_CGROUP", ""))
            self._groups.sweep()
        except (ArintError, OSError) as error:
            self.way = Way("rlimits", f"{error}; {WEAKER}")
        else:
            self.way = Way("cgroup", f"each instance has its own below {self._groups.parent}")

    def around(self, name: str, ceiling: Ceiling, user: int = 0) -> Fence:
        """The fence of an instance, whose process will be of this user."""
        if self._groups is not None:
            return GroupFence(self._groups.group(name), ceiling)
        return EyeFence(ceiling, self.mark(name), user)

    def mark(self, name: str) -> str:
        """The value of MARK for an instance."""
        return f"{self._home}/{name}"

    def close(self) -> None:
        """Leave nothing behind; what still runs keeps its group."""
        if self._groups is not None:
            self._groups.close()


class GroupFence:
    """By a control group: the kernel counts, and ends."""

    near = False

    def __init__(self, group: cgroup.Group, ceiling: Ceiling) -> None:
        self._group = group
        self._ceiling = ceiling
        self._refused = 0
        self._pid = 0

    def enter(self, pid: int) -> None:
        """Raises ArintError where the kernel refuses."""
        self._pid = pid
        try:
            self._group.make(self._ceiling)
            self._group.add(pid)
        except OSError as error:
            raise ArintError(f"its control group cannot be made: {error.strerror}",
                             where=str(self._group.folder)) from error
        self._refused = self._group.forks_refused

    def limit(self, ceiling: Ceiling) -> None:
        """A running instance that uses more than the new limit is ended by the kernel, as it should be."""
        before, self._ceiling = self._ceiling, ceiling
        if ceiling != before and self._pid:
            self._group.limit(ceiling)

    def look(self, look: Look) -> str:
        """The kernel looks; only what it refused is told."""
        refused = self._group.forks_refused
        if refused > self._refused:
            log.warning("%s was refused %d processes or threads: %d are allowed (see resources.processes)",
                        self._group.folder.name, refused - self._refused, self._ceiling.processes)
            self._refused = refused
        return ""

    def usage(self) -> Usage:
        """What it uses now."""
        return self._group.usage()

    def kill(self) -> None:
        """At once, and whatever it has forked."""
        self._group.kill()

    def left(self) -> str:
        """What it left is in the group, wherever it has gone."""
        was_killed, self._pid = self._group.killed_for_memory, 0
        self._group.kill()
        self._group.remove()
        return out_of_memory(self._ceiling, "the kernel") if was_killed else ""


class EyeFence:
    """By limits of each process, and by adding them up."""

    near = False

    def __init__(self, ceiling: Ceiling, mark: str, user: int) -> None:
        self._ceiling = ceiling
        self._mark = os.fsencode(mark)
        self._user = user
        self._pid = 0
        self._members: frozenset[rlimits.Member] = frozenset()
        self._why = ""

    def enter(self, pid: int) -> None:
        """The limits of the process; an adopted one has them already."""
        self._pid, self._members, self._why = pid, frozenset(), ""
        rlimits.hold(pid, self._ceiling, self._user)

    def limit(self, ceiling: Ceiling) -> None:
        """Those that run already keep what each may map, unless it is the first: that only backs the sum."""
        before, self._ceiling = self._ceiling, ceiling
        if ceiling != before and self._pid:
            rlimits.hold(self._pid, ceiling, self._user)

    def look(self, look: Look) -> str:
        """Count all that belongs to it."""
        if not self._pid:
            return ""
        strays = (pid for pid in look.marked.get(self._mark, ()) if pid in look.stats)
        known = self._members | {rlimits.Member(pid, look.stats[pid].start) for pid in strays}
        self._members = rlimits.members_of(self._pid, known, look.stats)
        usage = rlimits.usage_of(self._members, look.stats, self._ceiling)
        self.near = 2 * usage.memory > self._ceiling.memory or 2 * usage.processes > self._ceiling.processes
        self._why = excess(usage, self._ceiling)
        return self._why

    def kill(self) -> None:
        """Round after round: what forks may be quicker than one."""
        if self._pid:
            rlimits.kill(self._pid, self._members, MARK.encode() + b"=" + self._mark)

    def left(self) -> str:
        """Also what is in a session of its own, by its mark."""
        self.kill()
        why, self._why, self._pid, self._members = self._why, "", 0, frozenset()
        return why
