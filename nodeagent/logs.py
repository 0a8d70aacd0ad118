"""Reading the logs of processes: from where the last lines begin, piece by piece, over rotations.

A place in a log is a number: bytes from the beginning of the file; what was rotated away before it (`<file>.1`, a copy)
lies before 0. Nothing is kept between two questions, so that whoever asks may go away, and come back to another agent.
"""

from __future__ import annotations

import os
from pathlib import Path

PIECE = 64 * 1024
"""Bytes that are read at a time. A line longer than that comes in pieces."""


def last(file: Path, count: int) -> int:
    """The place where the last `count` lines begin. A file that is not there has none yet."""
    size = _size(file)
    begin, lines = _back(file, count, size)
    if lines >= count:
        return begin
    older = _older(file)
    older_size = _size(older)
    return _back(older, count - lines, older_size)[0] - older_size


def after(file: Path, place: int, *, whole: bool) -> tuple[list[str], int, bool]:
    """The lines from a place on, as many as one piece holds, the place behind them, and whether there are no more yet.

    `whole`: a line whose end is not written yet is left for the next time.
    """
    size, older_size = _size(file), _size(_older(file))
    if place > size:  # copied away and cut off since: the place is in the older one now, if that still has it
        place = min(0, place - older_size)
    place = max(place, -older_size)
    read = _read(file, place) if place >= 0 else _read(_older(file), older_size + place)
    end = read.rfind(b"\n") + 1
    is_full = len(read) == PIECE
    if (is_full and not end) or (not is_full and (place < 0 or not whole)):
        end = len(read)
    found = read[:end].removesuffix(b"\n").split(b"\n") if end else []
    return [line.decode(errors="replace") for line in found], place + end, not is_full and place >= 0


def _back(file: Path, count: int, size: int) -> tuple[int, int]:
    """Where the last `count` lines before `size` begin, or those that there are; and how many these are.

    At most `count` pieces are read.
    """
    if count <= 0 or size <= 0:
        return size, 0
    lines, position, least = 0, size - 1, max(0, size - count * PIECE)  # the last byte ends a line, and begins none
    try:
        with file.open("rb") as opened:
            while position > least:
                begin = max(least, position - PIECE)
                opened.seek(begin)
                piece = opened.read(position - begin)
                end = len(piece)
                while (end := piece.rfind(b"\n", 0, end)) >= 0:
                    lines += 1
                    if lines == count:
                        return begin + end + 1, lines
                position = begin
    except OSError:
        return size, 0
    return (least, lines + 1) if least == 0 else (least, count)


def _read(file: Path, position: int) -> bytes:
    try:
        with file.open("rb") as opened:
            opened.seek(position)
            return opened.read(PIECE)
    except OSError:
        return b""


def _older(file: Path) -> Path:
    return file.with_name(f"{file.name}.1")


def _size(file: Path) -> int:
    try:
        return os.stat(file).st_size  # noqa: PTH116 - one call, many times a second
    except OSError:
        return 0
