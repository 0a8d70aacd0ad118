"""An engine that met a full disk: the broker refuses a stream from then on, also with room again, until it restarts."""

from __future__ import annotations

import os
from pathlib import Path

from arint.engines.machine import disk_free

ROOM: int = 32 * 2**20
"""Bytes that must be free again before a restart is worth it."""
_SIGN = b"no space left on device"
_MOST = 2**20


class FullDisk:
    """Reads what the log gets from `begin` on. The log is the only place where the broker tells of it."""

    def __init__(self, log_file: Path, *, room: int = ROOM) -> None:
        self._log_file = log_file
        self._room = room
        self._read = 0
        self._met = False

    def begin(self) -> None:
        """A new process has started: what was told before is past."""
        self._met = False
        self._read = self._size()

    def is_over(self) -> bool:
        """The running process has met a full disk, and there is room again: it is to be started anew."""
        self._met = self._met or _SIGN in self._news()
        return self._met and disk_free(self._log_file.parent) >= self._room

    def _size(self) -> int:
        try:
            return self._log_file.stat().st_size
        except OSError:
            return 0

    def _news(self) -> bytes:
        size = self._size()
        begin = max(self._read if size >= self._read else 0, size - _MOST)  # rotated, if it shrank
        self._read = size
        if begin == size:
            return b""
        try:
            with self._log_file.open("rb") as file:
                return os.pread(file.fileno(), size - begin, begin)
        except OSError:
            return b""
