"""The file system that all machines of the lab share: Debian's minbase and an sshd, made once into the tests' cache.

No Python is in it, which is what a bare machine looks like. debootstrap and systemd-nspawn come from apt, unpacked
beside the system.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from arint.engines.apt import KEYRING, Apt, held, run_bounded
from arint.errors import ArintError, DeniedError

_PACKAGES = "openssh-server,sudo,iproute2,iputils-ping,procps,systemd-sysv"
_BUILD = 300
"""Seconds that making it may take; about 30 are usual."""
_EDITION = "1"
"""Part of the folder's name: another list of packages is another file system."""


def cache() -> Path:
    """The folder of everything that the lab makes once."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "arint-tests/lab"


def rootfs() -> Path:
    """The file system, made where it is not yet. Raises ArintError where that is not possible."""
    if os.geteuid() != 0:
        raise DeniedError("the lab's machines are namespaces, and making them needs root")
    for program in ("ip", "tc", "nsenter", "unshare", "setpriv", "ssh", "ssh-keygen"):
        if shutil.which(program) is None:
            raise ArintError(f"the lab needs the program {program}",
                             remedy="install iproute2, util-linux and openssh-client")
    folder = cache()
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"rootfs-{_EDITION}"
    with held(folder / "lock"):
        if not made.exists():
            _build(folder, made)
    return made


def nspawn() -> tuple[Path, Path]:
    """systemd-nspawn, and the folder of libraries that it needs beside the system's. Raises ArintError."""
    folder = cache()
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder / "lock"):
        made = folder / "systemd-container"
        if not made.exists():
            apt = Apt(folder / "apt")
            apt.refresh()
            apt.unpack(apt.with_missing("systemd-container"), made)
            apt.forget()
    return made / "usr/bin/systemd-nspawn", next(iter(made.glob("usr/lib/*-linux-gnu/systemd")), made / "usr/lib")


def _build(folder: Path, made: Path) -> None:
    apt = Apt(folder / "apt")
    tool = folder / "debootstrap"
    if not tool.exists():
        apt.refresh()
        apt.unpack(["debootstrap"], tool)
    half = folder / "rootfs.half"
    if half.exists():
        run_bounded(["rm", "-rf", "--one-file-system", str(half)])
    keyring = [f"--keyring={KEYRING}"] if KEYRING.exists() else []
    run_bounded(["unshare", "--mount", str(tool / "usr/sbin/debootstrap"), "--variant=minbase", *keyring,
                 f"--include={_PACKAGES}", apt.suite, str(half), apt.mirror],
                env={"DEBOOTSTRAP_DIR": str(tool / "usr/share/debootstrap"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                timeout=_BUILD)
    for name in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(half / name, ignore_errors=True)
        (half / name / "partial").mkdir(parents=True)
    for key in (half / "etc/ssh").glob("ssh_host_*"):
        key.unlink()  # each machine has its own
    (half / "etc/machine-id").write_text("")
    for user, groups in (("ops", ["--groups", "sudo"]), ("plain", [])):
        run_bounded(["chroot", str(half), "useradd", "--create-home", "--shell", "/bin/bash", *groups, user])
    apt.forget()
    half.rename(made)
