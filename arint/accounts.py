"""The users that services may run as: looked up, and taken on in a process that is root."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import msgspec

from arint.errors import DeniedError, NotFoundError


class Account(msgspec.Struct, frozen=True):
    """A user of this machine, with all groups it is in."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str

    @property
    def environment(self) -> dict[str, str]:
        """What names it in the environment of its processes."""
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": self.shell}


def account(name: str, *, where: str = "") -> Account:
    """The user of this name. Raises NotFoundError if there is none, DeniedError if this process cannot become it."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise NotFoundError(f"there is no user {name} on this node", where=where or None,
                            remedy=f"create it (useradd --system {name}), or name another in `user:`") from None
    if os.geteuid() not in (0, found.pw_uid):
        raise DeniedError(f"the agent runs as {_own_name()}, and only root can start a service as {name}",
                          where=where or None, remedy="leave `user:` out, or run arintctl up as root")
    return Account(name, found.pw_uid, found.pw_gid, tuple(os.getgrouplist(name, found.pw_gid)), found.pw_dir,
                   found.pw_shell or "/bin/sh")


def become(wanted: Account) -> None:
    """From now on this process, all its threads, is that user's, and cannot go back."""
    if os.geteuid() != wanted.uid:
        os.setgroups(wanted.groups)
        os.setresgid(wanted.gid, wanted.gid, wanted.gid)
        os.setresuid(wanted.uid, wanted.uid, wanted.uid)
    os.environ.update(wanted.environment)


def reachable(wanted: Account, path: Path, *, where: str) -> None:
    """Raises DeniedError, with the folder that is in the way, if the user cannot get at this one."""
    closed = _closed_to(wanted, path)
    if closed is not None:
        raise DeniedError(f"the user {wanted.name} may not enter {closed}", where=where,
                          remedy="keep the home, and the Python that runs it, where every user may go, such as "
                                 "/var/lib/arint and /opt (--home)")


def _closed_to(wanted: Account, path: Path) -> Path | None:
    """The first folder above `path`, or itself, that the user may not enter or read; None if nothing is in the way."""
    for place in [*reversed(path.resolve().parents), path.resolve()]:
        try:
            info = place.stat()
        except OSError:
            return place
        needed = 0o5 if place == path.resolve() else 0o1  # read and enter, or only enter
        if wanted.uid == info.st_uid:
            granted = info.st_mode >> 6
        elif info.st_gid in wanted.groups:
            granted = info.st_mode >> 3
        else:
            granted = info.st_mode
        if wanted.uid != 0 and granted & needed != needed:
            return place
    return None


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"
