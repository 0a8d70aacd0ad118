"""The action log: each attempt is stored on the bus, and written as a JSON line to a rotated file on the node."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Protocol

import msgspec

from arint.actions import Action
from arint.bus.subjects import Place

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
        self._encoder = msgspec.json.Encoder()
        self._file: RotatingFileHandler | None = None
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._file = RotatingFileHandler(file, maxBytes=FILE_SIZE, backupCount=FILES_KEPT, encoding="utf-8")
            self._file.setFormatter(logging.Formatter("%(message)s"))

    async def record(self, action: Action, *, token: str = "") -> None:
        """Store the record of one attempt; returns when it is on disk.

        `token` stands for the attempt in the subject where one attempt has several records (deferrals).
        """
        body = self._encoder.encode(action)
        place = Place(action.root, action.message, action.run, action.flow, action.stage)
        subject = f"{place.actions[:-1]}{token or action.attempt}"
        await self._store.store(subject, body, {})
        self._write_line(body)

    def _write_line(self, body: bytes) -> None:
        if self._file is None:
            return
        record = logging.LogRecord("actions", logging.INFO, "", 0, body.decode(), None, None)
        self._file.handle(record)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
