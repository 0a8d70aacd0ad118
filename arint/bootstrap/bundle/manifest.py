"""What a bundle says of itself: where it runs, what is in it, and the hash of every file."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

import msgspec

FORMAT = 1
FILE = "bundle.json"
"""The first member of the archive, and beside what was unpacked."""
SBOM = "sbom.cdx.json"


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of the bundle: SHA-256 of its content, size in bytes, whether it is a program."""

    sha256: str
    size: int
    program: bool = False


class Component(msgspec.Struct, frozen=True, order=True, omit_defaults=True):
    """Something of somebody's that is in the bundle: `kind` is interpreter, package, engine or library."""

    kind: str
    name: str
    version: str
    license: str = ""
    sha256: str = ""


class Platform(msgspec.Struct, frozen=True):
    """Where a bundle runs: the kernel's and the processor's name, and the oldest C library that will do."""

    system: str
    machine: str
    glibc: str

    def __str__(self) -> str:
        return f"{self.system}-{self.machine}, glibc {self.glibc}"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `bundle.json`."""

    format: int = FORMAT
    release: str
    """The release of ARINT."""
    python: str
    etcd: str
    nats: str
    platform: Platform
    components: tuple[Component, ...]
    files: dict[str, Entry]

    @property
    def digest(self) -> str:
        """One hash for all that is in it: equal bundles have equal digests, wherever they were built."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    @property
    def id(self) -> str:
        """The name of the folder that it is installed in: `0.1.0-3f2a9c01b7de`."""
        return f"{self.release}-{self.digest[:12]}"

    @property
    def size(self) -> int:
        """Bytes when unpacked."""
        return sum(entry.size for entry in self.files.values())


def this_platform() -> Platform:
    """The platform of this process."""
    uname = os.uname()
    return Platform(uname.sysname.lower(), uname.machine, platform.libc_ver()[1] or "0")


def installed() -> tuple[Path, Manifest] | None:
    """The folder and the manifest of the bundle that this very process runs from; None if it runs from none."""
    import sys

    folder = Path(sys.base_prefix).parent
    try:
        return folder, msgspec.json.decode((folder / FILE).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError):
        return None
