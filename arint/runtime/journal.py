"""The action log: each attempt is stored on the bus, and written as a JSON line to a rotated file on the node."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from arint.actions import Action

log = logging.getLogger(__name__)

FILE_SIZE = 8 * 1024 * 1024
FILES_KEPT = 3


class Store(Protocol):
    """What the journal needs of a committer."""

    async def store(self, subject: str, body: bytes, headers: Mapping[str, str | bytes]) -> object:
        """Store once under this subject."""
        ...


class Journal:
    """Writes action records. The stream is the record that counts; the file is for the node's administrator."""

    def __init__(self, store: Store, file: Path | None) -> None:
        self._store = store
        self._encode = msgspec.json.Encoder().encode
        self._lines = Lines(file) if file is not None else None

    async def record(self, action: Action, *, token: str = "") -> None:
        """Store the record of one attempt; returns when it is on disk.

        `token` stands for the attempt in the subject where one attempt has several records (deferrals).
        """
        body = self._encode(action)
        subject = (f"a.{action.root}.{action.message}.{action.run}.{action.flow}.{action.stage}."
                   f"{token or action.attempt}")
        await self._store.store(subject, body, {})
        if self._lines is not None:
            self._lines.add(body)

    def open(self) -> None:
        """Open the file, for a process that is about to become another user's."""
        if self._lines is not None:
            self._lines.open()

    def close(self) -> None:
        """Close the file."""
        if self._lines is not None:
            self._lines.close()


class Lines:
    """A file of lines that is bounded: FILES_KEPT older ones, `NAME.1` the youngest, and then no more.

    What is added in one turn of the loop is written at once: with group commit that is hundreds of lines. The handler
    of the standard library takes 15 µs for each. A disk that is full costs lines, never a message.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._path = file
        self._file: BinaryIO | None = None
        self._size = 0
        self._waiting: list[bytes] = []
        self._is_failing = False

    def add(self, line: bytes) -> None:
        """Write this line at the end of this turn of the loop."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append(line)

    def flush(self) -> None:
        """Write what waits."""
        if not self._waiting:
            return
        data = b"\n".join([*self._waiting, b""])
        self._waiting.clear()
        try:
            if self._file is not None and self._size + len(data) > FILE_SIZE:
                self._rotate()
            self.open().write(data)
            self._size += len(data)
            self._is_failing = False
        except OSError as error:
            if not self._is_failing:
                log.warning("the action log's file cannot be written (the records are on the bus): %s", error)
            self._is_failing = True

    def open(self) -> BinaryIO:
        """The file. It is opened early where this process will not be able to later."""
        if self._file is None:
            self._file = self._path.open("ab", buffering=0)
            self._size = self._path.stat().st_size
        return self._file

    def _rotate(self) -> None:
        if not os.access(self._path.parent, os.W_OK):  # a service with a user of its own: one file is all it has
            self.open().truncate(0)
            self._size = 0
            return
        self._close_file()
        for number in range(FILES_KEPT, 0, -1):
            older = self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def close(self) -> None:
        """Write what waits, and close."""
        self.flush()
        self._close_file()
