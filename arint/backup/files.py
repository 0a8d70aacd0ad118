"""The files of a home that a backup holds: who the node is, its keys, the users' data, code and packages.

What the engines hold comes through the engines; what runs, logs, and packages that are installed again are left out.
SQLite databases are copied as SQLite does it, so that one that is being written comes out whole.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Container, Iterator
from contextlib import closing
from pathlib import Path

from arint.backup.manifest import Entry
from arint.home import Home

CHUNK = 2**20
_SQLITE = b"SQLite format 3\0"
_BESIDE = ("-wal", "-shm", "-journal")
Source = Callable[[], Iterator[bytes]]


def identity(home: Home) -> Iterator[tuple[Entry, Source]]:
    """The node's configuration and its keys: first in the archive, since whoever restores needs them first."""
    yield _file(home, home.node_file)
    yield from _below(home, home.pki)


def contents(home: Home, kept: Container[tuple[str, str]] = ()) -> Iterator[tuple[Entry, Source]]:
    """The users' data; code and packages but those that come with the store of code: `kept`, by kind and digest."""
    yield from _below(home, home.data)
    yield from _below(home, home.artifacts, lambda digest: ("code", digest) not in kept)
    yield from _below(home, home.wheels, lambda digest: ("wheel", digest) not in kept)


def size(home: Home) -> int:
    """The bytes of all these, about."""
    from arint.engines.machine import disk_used

    return sum(disk_used(folder) for folder in (home.pki, home.data, home.artifacts, home.wheels))


def _below(home: Home, top: Path, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[tuple[Entry, Source]]:
    """Everything in the folder, in order, but what in it is not wanted by its name.

    Temporary files (their names begin with a dot at the top) are nobody's.
    """
    for folder, below, names in os.walk(top):
        below.sort()
        if Path(folder) == top:
            below[:] = [name for name in below if not name.startswith(".") and wanted(name)]
        for name in below:
            path = Path(folder, name)
            if path.is_symlink():
                yield _link(home, path)
            else:
                yield _entry(home, path, "folder"), lambda: iter(())
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_symlink():
                yield _link(home, path)
            elif path.is_file() and not _is_beside(path):
                yield _file(home, path)


def _is_beside(path: Path) -> bool:
    """Is it what SQLite keeps beside a database?"""
    return any(path.name.endswith(end) and _is_sqlite(path.with_name(path.name.removesuffix(end))) for end in _BESIDE)


def _is_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False


def _file(home: Home, path: Path) -> tuple[Entry, Source]:
    source = _database if _is_sqlite(path) else _plain
    return _entry(home, path, "file"), lambda: source(path)


def _link(home: Home, path: Path) -> tuple[Entry, Source]:
    return _entry(home, path, "link"), lambda: iter([os.fsencode(path.readlink())])


def _entry(home: Home, path: Path, kind: str) -> Entry:
    try:
        mode = stat.S_IMODE(path.lstat().st_mode)
    except FileNotFoundError:
        mode = 0o600
    return Entry(kind=kind, name=str(path.relative_to(home.path)), mode=mode)  # type: ignore[arg-type]


def _plain(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _database(path: Path) -> Iterator[bytes]:
    """A copy as of one moment, while others write."""
    with tempfile.TemporaryDirectory(prefix="arint-backup-") as folder:
        copy = Path(folder, "copy.db")
        source = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30.0)
        with closing(source), closing(sqlite3.connect(copy)) as target:
            source.backup(target, pages=4096)
        yield from _plain(copy)
