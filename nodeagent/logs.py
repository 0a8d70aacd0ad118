"""Reading the logs of processes: the last lines, and whatever comes after, over rotations."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

LOOK = 0.2
_PIECE = 64 * 1024
_LONGEST = 64 * 1024


async def lines(file: Path, count: int, *, follow: bool) -> AsyncIterator[str]:
    """The last `count` lines of `file` (and of the one rotated before it), then with `follow` each that is added.

    A line longer than 64 KiB comes in pieces. A file that is not there has no lines yet.
    """
    position = _size(file)
    for line in await asyncio.to_thread(_last, file, count, position):
        yield line
    if follow:
        async for line in _following(file, position):
            yield line


def _last(file: Path, count: int, size: int) -> list[str]:
    """Read backwards, piece by piece, until there are enough line breaks."""
    found = _tail(file, count, size)
    if found.count(b"\n") < count:
        older = file.with_name(f"{file.name}.1")
        found = _tail(older, count - found.count(b"\n"), _size(older)) + found
    return [line.decode(errors="replace") for line in found.splitlines()[-count:]] if count > 0 else []


def _tail(file: Path, count: int, size: int) -> bytes:
    found = b""
    try:
        with file.open("rb") as opened:
            while size > 0 and found.count(b"\n") <= count and len(found) < count * _LONGEST:
                begin = max(0, size - _PIECE)
                opened.seek(begin)
                found = opened.read(size - begin) + found
                size = begin
    except OSError:
        return b""
    return found


async def _following(file: Path, position: int) -> AsyncIterator[str]:
    rest = b""
    while True:
        size = _size(file)
        if size < position:  # copied away and truncated: go on at the beginning
            position = 0
        while position < size:
            piece = await asyncio.to_thread(_read, file, position)
            if not piece:
                break
            position += len(piece)
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")
            if len(rest) >= _LONGEST:
                yield rest.decode(errors="replace")
                rest = b""
        await asyncio.sleep(LOOK)


def _read(file: Path, position: int) -> bytes:
    try:
        with file.open("rb") as opened:
            opened.seek(position)
            return opened.read(_PIECE)
    except OSError:
        return b""


def _size(file: Path) -> int:
    try:
        return os.stat(file).st_size  # noqa: PTH116 - one call, many times a second
    except OSError:
        return 0
