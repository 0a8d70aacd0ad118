"""Passwords: from where the inventory says, or asked for once. They are kept in memory and nowhere else."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from arint.bootstrap.inventory import Password, Source
from arint.errors import NotFoundError

Ask = Callable[[str], str]
"""Asks a person, without an echo."""
_LARGEST = 4096


class Passwords:
    """`ask` is None where there is nobody to ask."""

    def __init__(self, ask: Ask | None = None) -> None:
        self._ask = ask
        self._known: dict[str, str] = {}
        self._lock = threading.Lock()

    def get(self, source: Password, purpose: str) -> str | None:
        """The password for this purpose; None where nobody can be asked. Raises NotFoundError."""
        if isinstance(source, Source):
            return _read(source, purpose)
        with self._lock:  # one question at a time
            if purpose not in self._known:
                if self._ask is None:
                    return None
                self._known[purpose] = self._ask(purpose)
            return self._known[purpose]


def _read(source: Source, purpose: str) -> str:
    if source.env:
        value = os.environ.get(source.env)
        if value is None:
            raise NotFoundError(f"the {purpose} is not set", where=f"${source.env}", remedy="export it first")
        return value
    file = Path(source.file).expanduser()
    try:
        with file.open("rb") as stream:
            return stream.read(_LARGEST).decode().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise NotFoundError(f"the {purpose} cannot be read: {error}", where=str(file)) from None
