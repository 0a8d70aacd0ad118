"""Writes one delivery into the folder, so that a reader never meets half a file and a crash writes nothing twice."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from hashlib import sha256

from arint.errors import RejectedError, SystemUnavailableError
from arint.runtime.failpoints import failpoint
from plugins.file.confined import opened_below, opened_root
from plugins.file.ledger import Ledger
from plugins.file.names import numbered
from plugins.file.specs import FileOptions

_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_END = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_NUMBERS = 100_000
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EMLINK})
"""FAT and some shares have no hard links; there a file of the same name that others make at that moment is lost."""


class Writer:
    """Blocks; not for several threads at once."""

    def __init__(self, path: str, ledger: Ledger, mode: int) -> None:
        self._path = path
        self._ledger = ledger
        self._mode = mode

    def write(self, body: bytes, folders: tuple[bytes, ...], name: bytes, options: FileOptions, key: str) -> None:
        """Deliver, unless this key's was. Raises OSError, or RejectedError where `fail` says so."""
        if self._ledger.has(key):
            return
        try:
            root = opened_root(self._path, make=True)
        except OSError as error:
            raise SystemUnavailableError(f"{self._path}: {error.strerror}") from error
        try:
            folder = opened_below(root, folders, make=True)
        finally:
            os.close(root)
        try:
            if options.if_exists == "append":
                end = b"\n" if options.line_end and not body.endswith(b"\n") else b""
                self._append(folder, name, b"/".join((*folders, name)).decode(), body + end, key)
            else:
                self._put(folder, name, body, options.if_exists, key)
        finally:
            os.close(folder)

    def _put(self, folder: int, name: bytes, body: bytes, if_exists: str, key: str) -> None:
        """The file is complete under a name of its own before it gets the one that others look for.

        With `fail` and `number` it keeps both names until the ledger has the key: after a crash that tells that it is
        there already.
        """
        own = b".arint-" + sha256(key.encode()).hexdigest()[:24].encode() + b".tmp"
        if if_exists == "replace":
            self._write(folder, own, body)
            os.rename(own, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
            failpoint("file put")
            self._ledger.made(key)
            return
        if not self._is_linked(folder, own):
            self._write(folder, own, body)
            try:
                self._link(folder, own, name, if_exists)
            except RejectedError:
                os.unlink(own, dir_fd=folder)
                raise
            os.fsync(folder)
        failpoint("file put")
        self._ledger.made(key)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(own, dir_fd=folder)

    def _link(self, folder: int, own: bytes, name: bytes, if_exists: str) -> None:
        for number in range(1, 2 if if_exists == "fail" else _MOST_NUMBERS):
            try:
                os.link(own, numbered(name, number), src_dir_fd=folder, dst_dir_fd=folder)
            except FileExistsError:
                continue
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if os.path.lexists(f"/proc/self/fd/{folder}/".encode() + numbered(name, number)):
                    continue
                os.rename(own, numbered(name, number), src_dir_fd=folder, dst_dir_fd=folder)
            return
        raise RejectedError("there is a file of this name already" if if_exists == "fail" else
                            f"there are {_MOST_NUMBERS} files of this name already")

    @staticmethod
    def _is_linked(folder: int, own: bytes) -> bool:
        """Was it given its name before a crash?"""
        try:
            return os.stat(own, dir_fd=folder, follow_symlinks=False).st_nlink > 1
        except FileNotFoundError:
            return False

    def _write(self, folder: int, name: bytes, body: bytes) -> None:
        descriptor = os.open(name, _NEW, self._mode, dir_fd=folder)
        try:
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                file.write(body)
            os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=folder)
            raise
        finally:
            os.close(descriptor)

    def _append(self, folder: int, name: bytes, file: str, body: bytes, key: str) -> None:
        """What was begun before a crash is undone first: it may be there in part. Its own message is tried again."""
        descriptor = os.open(name, _END, self._mode, dir_fd=folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # against other runners; let go when it is closed
            met = os.fstat(descriptor)
            size = met.st_size
            for begun in self._ledger.begun(file):
                if begun.inode == met.st_ino and begun.offset < size:
                    os.ftruncate(descriptor, begun.offset)
                    size = begun.offset
                self._ledger.forget(begun.key)
            self._ledger.begin(key, file, met.st_ino, size)
            failpoint("file append begun")
            try:
                written = 0
                while written < len(body):
                    written += os.pwrite(descriptor, body[written:], size + written)
                os.fsync(descriptor)
                if size == 0:
                    os.fsync(folder)
            except OSError:
                os.ftruncate(descriptor, size)
                self._ledger.forget(key)
                raise
            failpoint("file appended")
            self._ledger.made(key)
        finally:
            os.close(descriptor)
