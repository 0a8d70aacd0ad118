"""A service's code as one archive, named by what it holds: the same files give the same digest on any machine.

The digest is the SHA-256 of the tar before compression, so that another zlib does not look like other code.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath

from arint.errors import NotFoundError, NotValidError

LARGEST = 32 * 2**20
"""Of all files together, not compressed."""
MOST_FILES = 10_000
LEFT_OUT = frozenset({"__pycache__", "venv", "node_modules", "site-packages", "tests", "wheelhouse"})
"""Folders that hold no code of a service, beside hidden ones and the roots of what is not code."""
ROOTS_LEFT_OUT = ("pyvenv.cfg", "node.json")
"""A virtual environment; a node's home, whose keys must not be shipped, nor the code that was packed before."""


def pack(source_file: Path, include: Sequence[str] = ()) -> tuple[str, bytes]:
    """Digest and bytes (tar.gz) of the code around `source_file`.

    All `*.py` in its folder and below, and what the globs in `include` match there (`data/*.json`, `**/*.txt`).
    Raises NotFoundError if the file, or what a glob names, is not there; NotValidError if it is too large.
    """
    folder = source_file.absolute().parent
    if not source_file.is_file():
        raise NotFoundError(f"there is no file {source_file.name}", where=str(folder))
    python = {name for name in _files(folder) if name.endswith(".py")}
    return _packed(folder, {source_file.name} | python | _included(folder, include))


def pack_files(folder: Path, names: Collection[str], include: Sequence[str] = ()) -> tuple[str, bytes]:
    """As `pack`, of these files (relative to `folder`) and of what the globs match: what a program needs."""
    folder = folder.absolute()
    for name in names:
        if not (folder / name).is_file():
            raise NotFoundError(f"there is no file {name}", where=str(folder))
    return _packed(folder, {*names} | _included(folder, include))


def repack(folder: Path, digest: str) -> bytes | None:
    """The bytes of code that was unpacked into `folder`; None where it is not there, or not as it was."""
    if not folder.is_dir():
        return None
    files = (file for file in folder.rglob("*") if file.is_file())
    names = {name for name in (file.relative_to(folder).as_posix() for file in files)
             if "__pycache__" not in PurePosixPath(name).parts}
    try:
        found, packed = _packed(folder, names)
    except NotValidError:
        return None
    return packed if found == digest else None


def _packed(folder: Path, chosen: set[str]) -> tuple[str, bytes]:
    archive = _archive(folder, sorted(chosen))
    return hashlib.sha256(archive).hexdigest(), gzip.compress(archive, compresslevel=6, mtime=0)


def _included(folder: Path, include: Sequence[str]) -> set[str]:
    """Names relative to the folder, with `/`."""
    chosen: set[str] = set()
    files = list(_files(folder)) if include else []
    for glob in include:
        matched = {name for name in files if _matches(name, glob)}
        if not matched:
            raise NotFoundError(f"include: nothing matches {glob!r}", where=str(folder),
                                remedy="globs are relative to the folder of the source file and stay within it")
        chosen |= matched
    return chosen


def _files(folder: Path) -> Iterator[str]:
    """All files that may be shipped; folders are not followed through symbolic links."""
    for base, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in LEFT_OUT
                            and not any((Path(base) / name / root).exists() for root in ROOTS_LEFT_OUT))
        for name in files:
            if not name.startswith("."):
                yield (Path(base) / name).relative_to(folder).as_posix()


def _matches(name: str, glob: str) -> bool:
    """Part by part, `**` for any number of folders; a folder's name means all that is in it."""
    return _match(PurePosixPath(name).parts, PurePosixPath(glob).parts)


def _match(parts: tuple[str, ...], globs: tuple[str, ...]) -> bool:
    if not globs:
        return True
    if globs[0] == "**":
        return any(_match(parts[index:], globs[1:] or ("*",)) for index in range(len(parts)))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], globs[0]) and _match(parts[1:], globs[1:])


def _archive(folder: Path, names: Sequence[str]) -> bytes:
    stream = io.BytesIO()
    size = 0
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in names:
            data = _content(folder, name)
            size += len(data)
            if size > LARGEST or len(names) > MOST_FILES:
                raise NotValidError(f"the code is larger than {LARGEST // 2**20} MiB or {MOST_FILES} files",
                                    where=str(folder), remedy="move the service into a folder of its own")
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = 0o755 if os.access(folder / name, os.X_OK) else 0o644
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def _content(folder: Path, name: str) -> bytes:
    """The file's bytes; a link may not lead out of the folder, or another machine's secrets could be shipped."""
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise NotValidError(f"{name} is a link that leads out of the folder", where=str(folder),
                            remedy="put a copy of the file there")
    if file.stat().st_size > LARGEST:
        raise NotValidError(f"{name} is larger than {LARGEST // 2**20} MiB", where=str(folder))
    return file.read_bytes()


def unpack(data: bytes, folder: Path, digest: str) -> None:
    """Put the code into `folder`, all or nothing; if it is there already, leave it.

    Raises NotValidError if the bytes are not what the digest names, or hold anything but plain files within.
    """
    if folder.is_dir():
        return
    archive = _decompressed(data)
    if hashlib.sha256(archive).hexdigest() != digest:
        raise NotValidError("the code is not what its digest names", where=digest[:12],
                            remedy="apply the service again")
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{digest[:12]}-", dir=folder.parent))
    try:
        _extract(archive, making)
        making.chmod(0o755)
        making.replace(folder)
    except OSError:
        if not folder.is_dir():  # else another process was first, with the same content
            raise
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _decompressed(data: bytes) -> bytes:
    """The tar, read no further than what `pack` can have written."""
    limit = LARGEST + MOST_FILES * 4096
    try:
        stream = zlib.decompressobj(wbits=31)
        archive = stream.decompress(data, limit)
    except zlib.error as error:
        raise NotValidError(f"the code is no archive: {error}") from None
    if not stream.eof:
        raise NotValidError("the code's archive is cut off, or too large")
    return archive


def _make_folders(wanted: Path) -> None:
    """Readable for whoever may enter the folder of all code: a service may have a user of its own."""
    if not wanted.is_dir():
        _make_folders(wanted.parent)
        wanted.mkdir()
        wanted.chmod(0o755)


def _write(file: Path, content: bytes, mode: int) -> None:
    """On the disk before its folder gets its name: that name is believed."""
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    file.chmod(mode)


def _extract(archive: bytes, folder: Path) -> None:
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            for entry in tar:
                name = PurePosixPath(entry.name)
                if not entry.isreg() or name.is_absolute() or ".." in name.parts:
                    raise NotValidError(f"the code's archive holds {entry.name!r}, which is no plain file within")
                file = folder / name
                _make_folders(file.parent)
                content = tar.extractfile(entry)
                _write(file, content.read() if content else b"", 0o755 if entry.mode & 0o100 else 0o644)
    except tarfile.TarError as error:
        raise NotValidError(f"the code is no archive: {error}") from None
