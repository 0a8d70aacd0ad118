"""One machine of the lab."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.lab.link import Cable, Ends
from tests.lab.rootfs import nspawn

PASSWORD = "s3cret of the lab"
"""The password of the users `ops` (who may sudo with it) and `plain` (who may not)."""
_START = 20.0
_START_SYSTEMD = 60.0
_POLL = 0.02

_MOUNT = """\
set -e
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$DISK/upper,workdir=$DISK/work" "$DISK/root"
cd "$DISK/root"
"""
_BARE = _MOUNT + """\
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
for node in "null 3" "zero 5" "full 7" "random 8" "urandom 9"; do
  set -- $node; mknod -m 666 "dev/$1" c 1 "$2"
done
mknod -m 666 dev/tty c 5 0
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mkdir run/sshd run/lock
hostname "$NAME"
mkdir -p .old
pivot_root . .old
exec chroot . /bin/bash -c 'umount -l /.old; cd /; /usr/sbin/sshd -D -E /var/log/sshd.log & wait $!'
"""
_SYSTEMD = _MOUNT + """\
mount -t proc proc /proc
cd /
"$NSPAWN" --quiet --boot --directory="$DISK/root" --machine="$NAME" --network-namespace-path="$NETWORK" \
  --register=no --keep-unit --console=pipe --resolv-conf=off --timezone=off --link-journal=no &
wait $!
"""


class Machine:
    """A machine with the `address`, reached as root by the lab's key; `systemd` boots a real one."""

    def __init__(self, lab: Path, name: str, ends: Ends, address: str, lower: Path, *,
                 systemd: bool = False) -> None:
        self.name = name
        self.address = address
        self.key = lab / "key"
        self.known_hosts = lab / "known_hosts"
        self.console = lab / f"{name}.log"
        self.systemd = systemd
        self._lower = lower
        self._disk = lab / name
        self._network = ends.machine
        self._cable = Cable(ends)
        self._process: subprocess.Popen[bytes] | None = None
        self._delay = self._loss = 0.0

    @property
    def disk(self) -> Path:
        """What the machine wrote, seen from outside."""
        return self._disk / "upper"

    def furnish(self, hosts: str, *, password_login: bool) -> None:
        """Write what differs from the shared file system: name, keys, users' passwords."""
        for name in ("upper/etc/ssh/sshd_config.d", "upper/root/.ssh", "work", "root"):
            (self._disk / name).mkdir(parents=True)
        etc = self.disk / "etc"
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
        (etc / "ssh/sshd_config.d/lab.conf").write_text(
            "PermitRootLogin prohibit-password\nUseDNS no\nMaxStartups 100\n"
            f"PasswordAuthentication {'yes' if password_login else 'no'}\nHostKey /etc/ssh/ssh_host_ed25519_key\n")
        new_key(etc / "ssh/ssh_host_ed25519_key")
        public = (etc / "ssh/ssh_host_ed25519_key.pub").read_text().split()
        with self.known_hosts.open("a") as known:
            known.write(f"{self.address} {public[0]} {public[1]}\n")
        (self.disk / "root").chmod(0o700)
        (self.disk / "root/.ssh").chmod(0o700)
        shutil.copy(f"{self.key}.pub", self.disk / "root/.ssh/authorized_keys")

    def power_on(self) -> None:
        """Boot it; `wait_ready` waits for its sshd."""
        assert self._process is None
        env = {"LOWER": str(self._lower), "DISK": str(self._disk), "NAME": self.name,
               "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "NETWORK": f"/run/netns/{self._network}"}
        if self.systemd:
            program, libraries = nspawn()
            env |= {"NSPAWN": str(program), "LD_LIBRARY_PATH": str(libraries)}
        inside = [] if self.systemd else [f"--net=/run/netns/{self._network}"]
        argv = ["setpriv", "--pdeathsig", "KILL", *(["nsenter", *inside] if inside else []), "unshare", "--mount",
                "--pid", "--ipc", "--uts", "--fork", "--kill-child=KILL", "/bin/sh", "-c",
                _SYSTEMD if self.systemd else _BARE]
        with self.console.open("ab") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)

    def wait_ready(self) -> None:
        """Wait until its sshd answers, and give the users their password at the first boot."""
        deadline = time.monotonic() + (_START_SYSTEMD if self.systemd else _START)
        while not self._answers():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the machine {self.name} does not start: {self.console.read_text()[-2000:]}")
            time.sleep(_POLL)
        if not (self._disk / "furnished").exists():
            self.run(["chpasswd"], text=f"ops:{PASSWORD}\nplain:{PASSWORD}\n")
            (self._disk / "furnished").touch()

    def power_off(self) -> None:
        """As if the plug were pulled: every process is killed; what was written stays."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(timeout=30)
            self._process = None

    def close(self) -> None:
        """Power off, and end what worked for it outside."""
        self.power_off()
        self._cable.close()

    def run(self, argv: Sequence[str], *, text: str = "", check: bool = True, timeout: float = 60.0) -> str:
        """Run a program in the machine as root, without ssh; what it prints."""
        enter = ["nsenter", f"--target={self.pid}", "--all", "--root", "--wd"]
        return _run([*enter, "--", *argv], text, check, timeout)

    def ssh(self, argv: Sequence[str], *, user: str = "root", text: str = "", check: bool = True,
            timeout: float = 60.0) -> str:
        """Run a command through its sshd, with the lab's key."""
        return _run([*self.ssh_words(user), *argv], text, check, timeout)

    def ssh_words(self, user: str = "root") -> list[str]:
        """The words before a command."""
        return ["ssh", "-F", "none", "-i", str(self.key), "-o", f"UserKnownHostsFile={self.known_hosts}",
                "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", f"{user}@{self.address}"]

    @property
    def pid(self) -> int:
        """The machine's first process, as the host counts."""
        innermost: list[tuple[int, int]] = []
        for word in _run(["ip", "netns", "pids", self._network], "", True, 10).split():
            try:
                status = Path(f"/proc/{word}/status").read_text()
            except OSError:
                continue
            inside = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
            if inside[-1] == "1":
                innermost.append((len(inside), int(word)))
        if not innermost:
            raise AssertionError(f"the machine {self.name} does not run: {self.console.read_text()[-2000:]}")
        return max(innermost)[1]

    def delay(self, milliseconds: float) -> None:
        """Each packet takes so much longer, each way."""
        self._delay = milliseconds
        self._cable.shape(self._delay, self._loss)

    def lose(self, percent: float) -> None:
        """So many packets are lost, each way."""
        self._loss = percent
        self._cable.shape(self._delay, self._loss)

    def cut(self) -> None:
        """No packet comes or goes, silently, as with a cable that is pulled behind the switch."""
        self.lose(100)

    def heal(self) -> None:
        """The link is whole again, without delay."""
        self._delay = self._loss = 0.0
        self._cable.shape(self._delay, self._loss)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.address, 22), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False


def new_key(file: Path) -> None:
    """A new ed25519 key, with its public half in FILE.pub."""
    _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(file)], "", True, 20)


def _run(argv: Sequence[str], text: str, check: bool, timeout: float) -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=timeout, check=False,
                          env={**os.environ, "LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    if check and done.returncode:
        raise AssertionError(f"{' '.join(argv)[-300:]}: code {done.returncode}: {done.stderr[-1000:]}"
                             f"{done.stdout[-500:]}")
    return done.stdout
