"""A lab: some machines on one network of their own, which the host reaches too. It leaves nothing behind.

A lab has a number, and with it a network, 198.18.NUMBER.0/24 (a range for such tests, RFC 2544), namespaces named
arint-labNUMBER-…, and a folder. Whoever holds the lock of a number owns them; one whose lock is free is a dead one's,
however it died, and is swept away by the next lab that starts.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO, overload

from arint.errors import ArintError
from tests.lab.link import Ends
from tests.lab.machine import Machine, new_key
from tests.lab.rootfs import rootfs

FOLDER = Path("/var/tmp/arint-lab")
_MOST = 250


class Lab(Sequence[Machine]):
    """`with Lab(count=3) as machines:`; `systemd` boots them with a real systemd.

    Raises ArintError on entering where there can be no lab: not root, no apt, no netem.
    """

    def __init__(self, count: int = 3, *, password_login: bool = False, systemd: bool = False) -> None:
        self._count = count
        self._password_login = password_login
        self._systemd = systemd
        self._lock: TextIO | None = None
        self._machines: list[Machine] = []
        self.number = 0

    @property
    def folder(self) -> Path:
        """Keys, logs and disks of this lab."""
        return FOLDER / str(self.number)

    @property
    def host(self) -> str:
        """The host's address in the lab's network."""
        return f"198.18.{self.number}.1"

    def __enter__(self) -> Lab:
        lower = rootfs()
        self._claim()
        try:
            self._wire(lower)
            for machine in self._machines:
                machine.power_on()
            for machine in self._machines:
                machine.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End every process of the lab, and remove what it made."""
        if self._lock is None:
            return
        for machine in self._machines:
            machine.close()
        self._machines.clear()
        sweep_number(self.number)
        self._lock.close()
        self._lock = None

    def __len__(self) -> int:
        return len(self._machines)

    @overload
    def __getitem__(self, index: int) -> Machine: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Machine]: ...
    def __getitem__(self, index: int | slice) -> Machine | Sequence[Machine]:
        return self._machines[index]

    def _claim(self) -> None:
        """Take the first free number, and sweep what dead labs left."""
        for number, lock in _free():
            sweep_number(number)
            if self._lock is None:
                self.number, self._lock = number, lock
                lock.truncate(0)
                lock.write(f"{os.getpid()}\n")
                lock.flush()
            else:
                lock.close()
        if self._lock is None:
            raise ArintError(f"{_MOST} labs run already", where=str(FOLDER))

    def _wire(self, lower: Path) -> None:
        number = self.number
        self.folder.mkdir(mode=0o755)
        new_key(self.folder / "key")
        lan = f"arint-lab{number}-lan"
        _ip("netns", "add", lan)
        _ip("-n", lan, "link", "add", "lan", "type", "bridge")
        _ip("-n", lan, "link", "set", "lan", "up")
        _ip("link", "add", f"arint-lab{number}", "type", "veth", "peer", "name", "host", "netns", lan)
        _ip("-n", lan, "link", "set", "host", "master", "lan", "up")
        _ip("addr", "add", f"{self.host}/24", "dev", f"arint-lab{number}")
        _ip("link", "set", f"arint-lab{number}", "up")
        names = [f"m{index + 1}" for index in range(self._count)]
        addresses = [f"198.18.{number}.{index + 11}" for index in range(self._count)]
        hosts = "".join(f"{address} {name}\n" for name, address in zip(names, addresses, strict=True))
        for name, address in zip(names, addresses, strict=True):
            network = f"arint-lab{number}-{name}"
            _ip("netns", "add", network)
            _ip("link", "add", "eth0", "netns", network, "type", "veth", "peer", "name", name, "netns", lan)
            _ip("-n", lan, "link", "set", name, "master", "lan", "up")
            _ip("-n", network, "link", "set", "lo", "up")
            _ip("-n", network, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", network, "link", "set", "eth0", "up")
            machine = Machine(self.folder, name, Ends(network, lan, name), address, lower, systemd=self._systemd)
            machine.furnish(hosts, password_login=self._password_login)
            self._machines.append(machine)


def _free() -> Iterator[tuple[int, TextIO]]:
    """The locks that nobody holds: of every lab that ever was, and one more at least."""
    FOLDER.mkdir(mode=0o755, exist_ok=True)
    if FOLDER.stat().st_uid != os.geteuid():
        raise ArintError("the folder of labs belongs to another user", where=str(FOLDER))
    got = False
    for number in range(1, _MOST + 1):
        file = FOLDER / f"{number}.lock"
        if got and not file.exists():
            return
        lock = file.open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        got = True
        yield number, lock


def sweep_number(number: int) -> None:
    """Remove what the lab of this number left; the caller holds its lock."""
    names = [line.split()[0] for line in _ip("netns", "list").splitlines()
             if line.startswith(f"arint-lab{number}-")]
    for name in names:
        for pid in _ip("netns", "pids", name).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        _ip("netns", "delete", name)
    subprocess.run(["ip", "link", "delete", f"arint-lab{number}"], capture_output=True, check=False, timeout=10)
    folder = FOLDER / str(number)
    if folder.exists():
        shutil.rmtree(folder)


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False, timeout=20)
    if done.returncode:
        raise ArintError(f"ip {' '.join(words)}: {done.stderr.strip()}", remedy="the lab needs root, and a kernel with "
                         "network namespaces, veth and bridge")
    return done.stdout
