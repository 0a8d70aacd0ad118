"""Which files are finished: decided from what was seen, with no clock of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Found(NamedTuple):
    """A file as a look at the folder met it: its path within, and what tells that it has changed."""

    relative: bytes
    size: int
    modified: int
    inode: int


class Watch:
    """Remembers what it saw; a file that stays the same for `settle` seconds is finished."""

    def __init__(self, settle: float) -> None:
        self._settle = settle
        self._since: dict[bytes, tuple[Found, float]] = {}

    def finished(self, found: Sequence[Found], now: float) -> list[Found]:
        """Those that are finished, the oldest first. `now` is in seconds, on any clock that only goes forward."""
        seen: dict[bytes, tuple[Found, float]] = {}
        for one in found:
            before = self._since.get(one.relative)
            seen[one.relative] = before if before is not None and before[0] == one else (one, now)
        self._since = seen
        ready = [one for one, since in seen.values() if now - since >= self._settle]
        return sorted(ready, key=lambda one: (one.modified, one.relative))

    @property
    def waiting(self) -> bool:
        """Whether there is a file that may be finished soon."""
        return bool(self._since)


def batches(files: Sequence[Found], most: int, octets: int) -> Iterator[list[Found]]:
    """In turn, at most so many files and bytes together; a larger file alone."""
    batch: list[Found] = []
    size = 0
    for one in files:
        if batch and (len(batch) >= most or size + one.size > octets):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.size
    if batch:
        yield batch
