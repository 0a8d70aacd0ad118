"""The records of a large file as the bodies of messages, a piece at a time and in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

from arint.flows.json_text import write_json
from arint.formats import opened

PIECE_MESSAGES = 128
PIECE_OCTETS = 4 * 2**20
BATCH_OCTETS = 256 * 2**10
"""A batch that has reached so many bytes goes, however few records it has: a message has its limit."""


class Part(NamedTuple):
    """One message's body: `number` is that of its first record, from 0; `records` how many it has."""

    number: int
    records: int
    body: bytes


class Records:
    """Reads on where it stands; not for several threads at once."""

    def __init__(self, stream: BinaryIO, chosen: Any, skip: int) -> None:
        self._records = opened(chosen).records(stream)
        self._batch: int = chosen.batch
        self.number = sum(1 for _ in islice(self._records, skip))

    def piece(self) -> list[Part]:
        """The next messages; none at the end. Raises RejectedError."""
        found: list[Part] = []
        octets = 0
        for part in self._parts():
            found.append(part)
            octets += len(part.body)
            if len(found) >= PIECE_MESSAGES or octets >= PIECE_OCTETS:
                break
        return found

    def _parts(self) -> Iterator[Part]:
        if self._batch == 1:
            for value in self._records:
                self.number += 1
                yield Part(self.number - 1, 1, write_json(value))
            return
        while (part := self._joined()).records:
            yield part

    def _joined(self) -> Part:
        texts: list[bytes] = []
        octets = 0
        for value in self._records:
            texts.append(write_json(value))
            octets += len(texts[-1])
            if len(texts) >= self._batch or octets >= BATCH_OCTETS:
                break
        self.number += len(texts)
        return Part(self.number - len(texts), len(texts), b"[" + b",".join(texts) + b"]")


def verified(stream: BinaryIO, chosen: Any) -> int:
    """How many records there are. Raises RejectedError if one of them is none."""
    return sum(1 for _ in opened(chosen).records(stream))
