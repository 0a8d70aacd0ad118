"""Control groups of the kernel, version 2: one for each instance, below one that this home's agent makes.

The files are those of https://docs.kernel.org/admin-guide/cgroup-v2.html; how a service manager hands over a part of
the tree stands in https://systemd.io/CGROUP_DELEGATION.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from arint.engines.procfs import with_variable
from arint.errors import ArintError
from arint.limits.ceiling import Ceiling, Usage, cpu_max

NEEDED = ("memory", "pids")
WANTED = ("cpu",)
PROC = Path("/proc")
_ROUNDS = 50


class Group:
    """The control group of one instance. Every method raises OSError where the kernel refuses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._killed_before = 0

    def make(self, ceiling: Ceiling) -> None:
        """Make it, unless it is there, with these limits."""
        self.folder.mkdir(exist_ok=True)
        self.limit(ceiling)
        self._killed_before = self._count("memory.events", "oom_kill")

    def limit(self, ceiling: Ceiling) -> None:
        """From now on these limits; what is used already counts."""
        self._write("memory.oom.group", "1")  # none of them is killed alone, to leave a cripple
        self._write("memory.max", str(ceiling.memory))
        with contextlib.suppress(OSError):  # a kernel without swap has no such file
            self._write("memory.swap.max", "0")
        self._write("pids.max", str(ceiling.processes))
        if (self.folder / "cpu.max").exists():
            self._write("cpu.max", cpu_max(ceiling.cpu))

    def add(self, pid: int) -> None:
        """Take a process in; what it starts from now on is in as well."""
        self._write("cgroup.procs", str(pid))

    @property
    def killed_for_memory(self) -> bool:
        """Whether the kernel ended something in it since it was made, because its memory was used up."""
        return self._count("memory.events", "oom_kill") > self._killed_before

    @property
    def forks_refused(self) -> int:
        """How often it was refused another process or thread."""
        return self._count("pids.events", "max")

    def usage(self) -> Usage:
        """What it uses now."""
        return Usage(self._number("memory.current"), self._number("pids.current"))

    def kill(self) -> None:
        """End everything in it."""
        with contextlib.suppress(FileNotFoundError):
            if (self.folder / "cgroup.kill").exists():  # Linux 5.14
                self._write("cgroup.kill", "1")
                return
        for _ in range(_ROUNDS):
            pids = self.pids()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not pids:
                return

    def pids(self) -> list[int]:
        """The processes in it."""
        try:
            return [int(line) for line in (self.folder / "cgroup.procs").read_text().split()]
        except OSError:
            return []

    def remove(self) -> None:
        """Remove it, if nothing is left in it."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def _number(self, name: str) -> int:
        try:
            return int((self.folder / name).read_text())
        except (OSError, ValueError):
            return 0

    def _count(self, file: str, key: str) -> int:
        try:
            lines = (self.folder / file).read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith(f"{key} ")), 0)


class Groups:
    """The groups of one home, below `parent`."""

    def __init__(self, parent: Path) -> None:
        self.parent = parent

    def group(self, name: str) -> Group:
        """The group of an instance; it need not exist yet."""
        return Group(self.parent / name)

    def sweep(self) -> None:
        """Remove the groups that hold nothing; those of workers that still run stay."""
        for folder in self.parent.iterdir():
            if folder.is_dir():
                Group(folder).remove()

    def close(self) -> None:
        """Remove all that is empty, the parent too."""
        with contextlib.suppress(OSError):
            self.sweep()
            self.parent.rmdir()


def find(home: Path, *, proc: Path = PROC, named: str = "") -> Groups:
    """Make the group for this home's instances: below this process's own group, or as root below the topmost.

    `named` is a group that the administrator has set aside. Raises ArintError that says why there is none to be had.
    """
    reasons: list[str] = []
    for place in _places(proc, named):
        try:
            return _made(place, home)
        except ArintError as error:
            reasons.append(error.what)
        except OSError as error:
            reasons.append(f"{place}: {error.strerror}")
    raise ArintError("; ".join(dict.fromkeys(reasons)) or "no cgroup v2 is mounted")


def _places(proc: Path, named: str) -> Iterator[Path]:
    if named:
        yield Path(named)
        return
    mount = _mounted(proc)
    if mount is None:
        return
    yield mount / _own(proc).lstrip("/")
    if os.geteuid() == 0:
        yield mount


def _mounted(proc: Path) -> Path | None:
    """Where cgroup v2 is mounted, its own root at that place."""
    try:
        lines = (proc / "self/mountinfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return Path(before.split()[4].encode().decode("unicode_escape"))
    return None


def _own(proc: Path) -> str:
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return ""
    return next((line[3:] for line in lines if line.startswith("0::")), "")


def _made(place: Path, home: Path) -> Groups:
    there = _words(place / "cgroup.controllers")
    missing = [name for name in NEEDED if name not in there]
    if missing:
        raise ArintError(f"{place} has no controller {' or '.join(missing)} (cgroup v1 may hold them)")
    parent = place / f"arint-{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}"
    controllers = [name for name in (*NEEDED, *WANTED) if name in there]
    _enable(place, controllers, home)
    parent.mkdir(exist_ok=True)
    _write_controllers(parent, controllers)
    probe = Group(parent / "probe")
    probe.make(Ceiling(2**30))
    probe.remove()
    return Groups(parent)


def _enable(place: Path, controllers: list[str], home: Path) -> None:
    """Controllers are handed down only by a group that holds no process itself: ours move one down."""
    if set(controllers) <= set(_words(place / "cgroup.subtree_control")):
        return
    try:
        _write_controllers(place, controllers)
    except OSError as error:
        pids = Group(place).pids()
        strange = [pid for pid in pids if pid not in _ours(home)]
        if not pids or strange:
            raise ArintError(f"{place}: {error.strerror}" + (
                f", since process {strange[0]}, which is not ARINT's, is in it" if strange else "")) from None
        below = place / "arint-agent"
        below.mkdir(exist_ok=True)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                Group(below).add(pid)
        _write_controllers(place, controllers)


def _write_controllers(place: Path, controllers: list[str]) -> None:
    (place / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))


def _ours(home: Path) -> set[int]:
    """This process, and what this home's agent started."""
    return {os.getpid(), *with_variable(b"ARINT_PROCESS=" + os.fsencode(home) + b"/", prefix=True)}


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
