"""Wheels kept by what they hold, and installed into a folder for each set of requirements, all or nothing.

    HOME/wheels/<sha256>/<name>.whl   what was fetched, once
    HOME/requirements/<digest>/       a set, installed: what services with the same set share
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from arint.errors import NotFoundError, NotValidError
from arint.here import refuse_elsewhere
from arint.home import Home
from arint.resources.kinds import Locked
from arint.resources.requirements import Package, packages_of, set_digest

LARGEST_SET = 2 * 2**30
"""Bytes of all files of a set, installed."""
_CHUNK = 2**20


def missing(home: Home, packages: Iterable[Package]) -> list[Package]:
    """Those whose wheels are not kept here."""
    return [package for package in packages if kept_wheel(home, package.sha256) is None]


def keep(home: Home, wheels: Iterable[Path]) -> None:
    """Keep wheels by their digests."""
    for wheel in wheels:
        folder = home.wheels / _digest(wheel)
        if not folder.is_dir():
            _in_one_move(folder, partial(_copy, wheel))
        os.utime(folder)  # it is wanted now: the sweep of what nobody names lets it be


def install(home: Home, locked: Locked) -> Path:
    """The folder of the installed set; made if it is not there.

    Raises NotValidError for a set that was resolved for another Python or platform, or a wheel that is not what its
    hash names; NotFoundError for one that is not kept here.
    """
    refuse_elsewhere(locked)
    folder = home.requirement_set(set_digest(locked))
    if not folder.is_dir():
        wheels = [_wheel(home, package) for package in packages_of(locked)]
        _refuse_large(wheels)
        _in_one_move(folder, partial(_install_all, wheels))
    os.utime(folder)
    return folder


def kept_wheel(home: Home, sha256: str) -> Path | None:
    """The file, if it is kept here."""
    return next((home.wheels / sha256).glob("*.whl"), None)


def _wheel(home: Home, package: Package) -> Path:
    found = kept_wheel(home, package.sha256)
    if found is None:
        raise NotFoundError(f"the wheel of {package.spoken} is not on this node", remedy="apply the service again")
    if _digest(found) != package.sha256:
        raise NotValidError(f"the wheel of {package.spoken} is not what its hash names", where=str(found),
                            remedy="remove it, and apply the service again")
    return found


def _copy(wheel: Path, folder: Path) -> None:
    """On the disk before its folder gets its name: that name is believed."""
    with (folder / wheel.name).open("wb") as copy:
        with wheel.open("rb") as source:
            shutil.copyfileobj(source, copy)
        copy.flush()
        os.fsync(copy.fileno())


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _refuse_large(wheels: Sequence[Path]) -> None:
    size = 0
    for wheel in wheels:
        try:
            with zipfile.ZipFile(wheel) as archive:
                size += sum(entry.file_size for entry in archive.infolist())
        except zipfile.BadZipFile as error:
            raise NotValidError(f"{wheel.name} is no wheel: {error}") from None
    if size > LARGEST_SET:
        raise NotValidError(f"the requirements are {size // 2**20} MiB when installed; at most "
                            f"{LARGEST_SET // 2**20} MiB are shipped")


def _install_all(wheels: Sequence[Path], folder: Path) -> None:
    from installer import install as install_wheel
    from installer.destinations import SchemeDictionaryDestination
    from installer.exceptions import InstallerError
    from installer.sources import WheelFile

    within = str(folder)
    scheme = {"purelib": within, "platlib": within, "headers": f"{within}/include", "scripts": f"{within}/bin",
              "data": within}
    target = SchemeDictionaryDestination(scheme, interpreter=sys.executable, script_kind="posix",
                                         bytecode_optimization_levels=(0,), overwrite_existing=True)
    for wheel in wheels:
        try:
            with WheelFile.open(wheel) as source:
                install_wheel(source, target, {"INSTALLER": b"arint"})
        except (InstallerError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise NotValidError(f"{wheel.name} cannot be installed: {error}") from None


def _in_one_move(folder: Path, make: Callable[[Path], object]) -> None:
    """Make a folder beside its place, then move it there; another process may be first, with the same content."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    making = Path(tempfile.mkdtemp(prefix=f".{folder.name[:12]}-", dir=folder.parent))
    try:
        make(making)
        making.chmod(0o755)  # a service may run as another user; who may come this far is the home's to say
        making.replace(folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
