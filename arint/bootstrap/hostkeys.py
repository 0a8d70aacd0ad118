"""Which machines are trusted to be who they say: keys of hosts, asked for once, refused when they change."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from arint.errors import DeniedError, NotValidError

if TYPE_CHECKING:
    from paramiko import HostKeys, PKey, SSHClient

SYSTEM = Path("/etc/ssh/ssh_known_hosts")


class Seen(msgspec.Struct, frozen=True):
    """A key that a machine showed and nobody knows yet. `fingerprint` is as OpenSSH prints it: SHA256:…"""

    name: str
    kind: str
    fingerprint: str


Trust = Callable[[Seen], bool]
"""Whether this is the machine's key; asked one at a time."""


def nobody(seen: Seen) -> bool:
    """Trust no machine that is not known."""
    return False


def everybody(seen: Seen) -> bool:
    """Trust each machine the first time (`--accept-new`)."""
    return True


def own_file() -> Path:
    """Where accepted keys are written: `arint/known_hosts` in the XDG configuration folder."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "arint" / "known_hosts"


class KnownHosts:
    """The known keys of hosts: our own file, the user's, the system's, and what an inventory names."""

    def __init__(self, trust: Trust = nobody, *, own: Path | None = None) -> None:
        self._trust = trust
        self._own = own or own_file()
        self._lock = threading.Lock()

    def prepare(self, client: SSHClient, more: str = "") -> None:
        """Give a client the known keys, and the question about others. Raises NotValidError: a file cannot be read."""
        import paramiko

        for file in self._files(more):
            with _readable(file):
                client.load_system_host_keys(str(file))
        known = self

        class Ask(paramiko.MissingHostKeyPolicy):
            def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
                known.meet(hostname, key)

        client.set_missing_host_key_policy(Ask())

    def meet(self, name: str, key: PKey) -> None:
        """A machine that nobody knows showed this key: ask, and remember. Raises DeniedError."""
        with self._lock:
            if self._remembered(name, key):
                return
            seen = Seen(name, key.get_name(), key.fingerprint)
            if not self._trust(seen):
                raise DeniedError(f"its host key is not known: {seen.kind} {seen.fingerprint}", where=name,
                                  remedy="compare it with `ssh-keygen -lf` on that machine, then accept it when "
                                         "asked, or add --accept-new")
            self._remember(name, key)

    def changed(self, name: str, key: PKey, more: str = "") -> DeniedError:
        """The error for a machine that shows another key than the known one."""
        file = next((one for one in self._files(more) if _holds(one, name)), self._own)
        return DeniedError(
            f"ITS HOST KEY HAS CHANGED: it shows {key.get_name()} {key.fingerprint}, which is not the known one; it "
            "may be another machine that answers in its place", where=name,
            remedy=f"if it was installed anew: ssh-keygen -R '{name}' -f {file}")

    def _files(self, more: str) -> Iterator[Path]:
        named = [Path(more).expanduser()] if more else []
        for file in (self._own, *named, Path.home() / ".ssh/known_hosts", SYSTEM):
            if file.is_file():
                yield file

    def _remembered(self, name: str, key: PKey) -> bool:
        """Whether somebody accepted it while this one waited for the lock."""
        found = _keys(self._own)
        return found is not None and found.check(name, key)

    def _remember(self, name: str, key: PKey) -> None:
        self._own.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._own, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, f"{name} {key.get_name()} {key.get_base64()}\n".encode())
        finally:
            os.close(descriptor)


def _keys(file: Path) -> HostKeys | None:
    from paramiko import HostKeys

    with _readable(file):
        return HostKeys(str(file)) if file.is_file() else None


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Raises NotValidError that names the file."""
    from paramiko.hostkeys import InvalidHostKey

    try:
        yield
    except InvalidHostKey as error:
        raise NotValidError(f"a line is no host key: {error.line}", where=str(file), remedy="correct or remove it"
                            ) from None
    except (OSError, ValueError) as error:  # not UTF-8, too
        raise NotValidError(f"known host keys cannot be read: {error}", where=str(file),
                            remedy="let it be readable by you, or correct it") from None


def _holds(file: Path, name: str) -> bool:
    found = _keys(file)
    return found is not None and found.lookup(name) is not None
