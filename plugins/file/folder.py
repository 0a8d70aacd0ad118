"""A watched folder on disk: look, claim, read, put away. All of it blocks, so it runs in threads.

A claim is a rename into `.arint/<channel>/<claim>/` within the folder, made durable before anything of the file is
stored. The messages' ids are made of the claim and the file's path: whoever finds the claim after a crash derives the
same ids, so nothing is stored twice; and a file that is put into the folder again is another claim.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import shutil
import stat
import time
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import count
from typing import BinaryIO, NamedTuple

from arint.errors import RejectedError
from arint.message import LARGEST_INLINE, derived_id
from plugins.file.confined import opened_below, opened_root, split
from plugins.file.specs import FileChannel
from plugins.file.watch import Found

log = logging.getLogger(__name__)

CONTROL = b".arint"
_PART = 512 * 2**10
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Claimed(NamedTuple):
    """A file that is ours: `relative` is where it lay, `place` where it lies now."""

    claim: str
    relative: bytes
    place: bytes
    size: int
    modified: int

    @property
    def identity(self) -> str:
        """The same each time for this claim of this file, and for no other."""
        return derived_id("file", self.claim, self.relative.hex())

    @property
    def shown(self) -> str:
        """Its path for people and headers: one line, bytes that are no UTF-8 as \\xNN."""
        return shown(self.relative)


def shown(path: bytes) -> str:
    """A path as one line of text."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


class StillWrittenError(Exception):
    """A file was written while it was read."""


class Folder:
    """One channel's folder."""

    def __init__(self, channel: str, spec: FileChannel) -> None:
        self._path = os.fsencode(spec.path.rstrip("/") or "/")
        self._control = os.path.join(self._path, CONTROL, channel.encode())
        self._globs = spec.glob.split("|")
        self._ignore = spec.ignore
        self._recursive = spec.recursive
        self._marker = os.fsencode(spec.marker)
        self._done = None if spec.done == "delete" else os.path.join(self._path, os.fsencode(spec.done))
        self._failed = os.path.join(self._path, os.fsencode(spec.failed))
        self._process = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"
        self._numbers = count(1)

    def prepare(self) -> None:
        """Make the folder, if it is missing. Raises OSError."""
        os.makedirs(self._control, mode=0o750, exist_ok=True)

    def look(self) -> list[Found]:
        """The files that match, in no order. Raises OSError only for the folder itself."""
        found: list[Found] = []
        waiting = [b""]
        away = {self._done, self._failed}
        while waiting:
            inner = waiting.pop()
            folder = os.path.join(self._path, inner)
            try:
                with os.scandir(folder) as entries:
                    listed = [entry for entry in entries if not entry.name.startswith(b".")]
            except OSError:
                if not inner:
                    raise
                continue  # a folder within that went away, or may not be read
            names = {entry.name for entry in listed} if self._marker else set[bytes]()
            for entry in listed:
                relative = os.path.join(inner, entry.name) if inner else entry.name
                if entry.is_dir(follow_symlinks=False):
                    if self._recursive and entry.path not in away:
                        waiting.append(relative)
                elif self._wanted(entry.name, names) and (one := _met(entry, relative)):
                    found.append(one)
        return found

    def _wanted(self, name: bytes, beside: set[bytes]) -> bool:
        text = os.fsdecode(name)
        if not any(fnmatchcase(text, glob) for glob in self._globs) or any(fnmatchcase(text, glob)
                                                                           for glob in self._ignore):
            return False
        return not self._marker or (name + self._marker in beside and not name.endswith(self._marker))

    def claim(self, files: Sequence[Found]) -> list[Claimed]:
        """Take these files, in their order; those that are gone are left out. Raises OSError."""
        claim = f"{self._process}-{next(self._numbers)}"
        into = os.path.join(self._control, claim.encode())
        os.mkdir(into, mode=0o750)
        source, target = opened_root(self._path), opened_root(into)
        folders: dict[tuple[bytes, ...], tuple[int, int]] = {(): (source, target)}
        claimed: list[Claimed] = []
        try:
            for one in files:
                parts, name = split(one.relative)
                try:
                    if parts not in folders:
                        folders[parts] = (opened_below(source, parts), opened_below(target, parts, make=True))
                    here, there = folders[parts]
                    os.rename(name, name, src_dir_fd=here, dst_dir_fd=there)
                except (FileNotFoundError, NotADirectoryError):
                    continue  # it is gone, or somebody put a link in its way
                except OSError as error:
                    log.warning("%s/%s cannot be taken: %s", shown(self._path), shown(one.relative), error.strerror)
                    continue
                if self._marker:
                    with contextlib.suppress(OSError):
                        os.unlink(name + self._marker, dir_fd=here)
                claimed.append(Claimed(claim, one.relative, os.path.join(into, one.relative), one.size, one.modified))
            for here, there in folders.values():
                os.fsync(there)
                os.fsync(here)
        finally:
            for here, there in folders.values():
                os.close(here)
                os.close(there)
        if not claimed:
            self.tidy(claim)
        return claimed

    def left_over(self, busy: Collection[str]) -> list[Claimed]:
        """What was claimed, by this process or an earlier one, and not put away, the oldest claim first; without those
        claims that are `busy`. Raises OSError.
        """
        found: list[Claimed] = []
        for claim in sorted(os.listdir(self._control)):
            into = os.path.join(self._control, claim)
            if claim.decode() in busy or not os.path.isdir(into):
                continue
            for folder, _, names in os.walk(into):
                for name in sorted(names):
                    place = os.path.join(folder, name)
                    with contextlib.suppress(FileNotFoundError):  # another process may just put it away
                        met = os.lstat(place)
                        relative = os.path.relpath(place, into)
                        found.append(Claimed(claim.decode(), relative, place, met.st_size, met.st_mtime_ns))
            self.tidy(claim.decode())
        return found

    def open(self, file: Claimed) -> BinaryIO:
        """The file's content. Raises RejectedError for what is no file, or may not be read."""
        try:
            descriptor = os.open(file.place, _READ)
        except OSError as error:
            link = os.path.islink(file.place)
            raise RejectedError("it is a link; links are not followed" if link else
                                f"it cannot be read: {error.strerror}", remedy=None if link else
                                "let whoever puts it there give read permission") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise RejectedError("it is no file but a device, a pipe or the like")
        return os.fdopen(descriptor, "rb", buffering=0)

    def read(self, file: Claimed, most: int) -> bytes | None:
        """The whole content; None if it is larger than LARGEST_INLINE, to be read in parts.

        Raises RejectedError, also if it is larger than `most`, and StillWrittenError.
        """
        with self.open(file) as content:
            before = os.fstat(content.fileno())
            if before.st_size > most:
                raise RejectedError(f"it has {before.st_size} bytes, and one message at most {most}",
                                    remedy="declare how it is split into messages: records: {format: …}")
            if before.st_size > LARGEST_INLINE:
                return None
            body = content.read(LARGEST_INLINE + 1) or b""
            after = os.fstat(content.fileno())
        if (before.st_size, before.st_mtime_ns) != (len(body), after.st_mtime_ns):
            raise StillWrittenError
        return body

    def parts(self, file: Claimed) -> Iterator[bytes]:
        """The content of a large file, piece by piece. Raises RejectedError, and StillWrittenError at its end."""
        with self.open(file) as content:
            before, octets = os.fstat(content.fileno()), 0
            while part := content.read(_PART):
                octets += len(part)
                yield part
            after = os.fstat(content.fileno())
        if (before.st_size, before.st_mtime_ns) != (octets, after.st_mtime_ns):
            raise StillWrittenError

    def done(self, file: Claimed) -> None:
        """Put a file away that was taken. Raises OSError."""
        if self._done is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file.place)
        else:
            _moved(file, self._done)

    def failed(self, file: Claimed, why: str) -> None:
        """Put a file away that cannot be taken, with the reason beside it. Raises OSError."""
        place = _moved(file, self._failed)
        if place is None:
            return
        folder, name = os.path.split(place)
        with open(os.path.join(folder, name[:240] + b".error"), "w", encoding="utf-8") as note:
            note.write(f"{file.shown}\n{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}\n{why}\n")

    def tidy(self, claim: str) -> None:
        """Remove a claim that is empty."""
        into = os.path.join(self._control, claim.encode())
        for folder, _, _ in os.walk(into, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)

    def position(self, file: Claimed) -> int:
        """How many of its records are stored for certain."""
        try:
            with open(self._position(file), encoding="ascii") as kept:
                return int(kept.read())
        except (OSError, ValueError):
            return 0

    def keep_position(self, file: Claimed, records: int) -> None:
        """Note how many of its records are stored; without it they would be read again, not stored again."""
        name = self._position(file)
        with contextlib.suppress(OSError):
            with open(name + b"~", "w", encoding="ascii") as kept:
                kept.write(str(records))
            os.replace(name + b"~", name)

    def forget_position(self, file: Claimed) -> None:
        """The file is at its end."""
        with contextlib.suppress(OSError):
            os.unlink(self._position(file))

    def _position(self, file: Claimed) -> bytes:
        return os.path.join(self._control, f"{file.claim}-{file.identity}.position".encode())


def _met(entry: os.DirEntry[bytes], relative: bytes) -> Found | None:
    try:
        met = entry.stat(follow_symlinks=False)
    except OSError:
        return None  # it went away
    return Found(relative, met.st_size, met.st_mtime_ns, met.st_ino)


def _moved(file: Claimed, folder: bytes) -> bytes | None:
    """Where the file lies now, under a name that nothing had before; None if it is gone already."""
    target = os.path.join(folder, file.relative)
    os.makedirs(os.path.dirname(target), mode=0o750, exist_ok=True)
    if os.path.lexists(target):
        inner, name = os.path.split(target)
        target = os.path.join(inner, b"%b.%b" % (name[:200], file.identity.encode()))
    try:
        os.rename(file.place, target)
    except FileNotFoundError:
        return None
    except OSError as error:
        if os.path.islink(file.place) or not os.path.isfile(file.place):
            raise
        if error.errno != errno.EXDEV:
            raise
        shutil.copy2(file.place, target + b"~")
        os.replace(target + b"~", target)
        os.unlink(file.place)
    return target
