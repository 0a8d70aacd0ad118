"""Between a home and the cluster's store of code: what a node has is offered, what it lacks is brought, whole or not.

A folder of code is packed again to be offered: the same files give the same digest, and what does not is not offered.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from arint.artifacts import store
from arint.artifacts.installing import keep, kept_wheel, missing
from arint.artifacts.packing import LARGEST, repack, unpack
from arint.artifacts.store import Piece
from arint.bus.connection import Bus
from arint.errors import NotValidError
from arint.home import Home
from arint.resources.requirements import Package


def packed_code(digest: str, packed: bytes) -> Piece:
    """Code that was packed just now."""
    return Piece("code", digest, len(packed), partial(io.BytesIO, packed), told=f"code {digest[:12]}")


def code_here(home: Home, digest: str) -> Piece | None:
    """The code with this digest, if it lies in the home as it was unpacked."""
    packed = repack(home.artifact(digest), digest)
    return packed_code(digest, packed) if packed is not None else None


def wheel_here(home: Home, sha256: str) -> Piece | None:
    """The wheel with this digest, if it lies in the home."""
    file = kept_wheel(home, sha256)
    if file is None:
        return None
    return Piece("wheel", sha256, file.stat().st_size, lambda: file.open("rb"), file.name, told=file.name)


async def bring_code(bus: Bus, home: Home, digest: str) -> None:
    """Fetch code into the home, where it is not there. Raises as `store.fetch`, OSError where the disk is full."""
    if home.artifact(digest).is_dir():
        return
    packed = bytearray()

    def take(part: bytes) -> None:
        if len(packed) + len(part) > 2 * LARGEST:
            raise NotValidError(f"the code is larger than {2 * LARGEST} bytes", where=f"code {digest[:12]}")
        packed.extend(part)

    await store.fetch(bus, "code", digest, take)
    unpack(bytes(packed), home.artifact(digest), digest)


async def bring_wheels(bus: Bus, home: Home, packages: Iterable[Package]) -> None:
    """Fetch those of the wheels that the home has not. Raises as `bring_code`."""
    for package in missing(home, packages):
        home.wheels.mkdir(exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=home.wheels) as name:
            keep(home, [await _wheel(bus, package, Path(name))])


async def _wheel(bus: Bus, package: Package, folder: Path) -> Path:
    """The wheel as a file in `folder`. What its name says is checked: it becomes a file's name here."""
    part = folder / "part"
    digest = hashlib.sha256()
    with part.open("wb") as file:

        def take(data: bytes) -> None:
            digest.update(data)
            file.write(data)

        mark = await store.fetch(bus, "wheel", package.sha256, take)
    if digest.hexdigest() != package.sha256:
        raise NotValidError(f"what is kept as the wheel of {package.spoken} is not what its hash names",
                            where=f"wheel {package.sha256[:12]}", remedy="apply the service again")
    try:
        parse_wheel_filename(mark.name)
    except InvalidWheelFilename:
        raise NotValidError(f"{mark.name!r} is no name of a wheel", where=f"wheel {package.sha256[:12]}",
                            remedy="apply the service again") from None
    return part.rename(folder / Path(mark.name).name)
