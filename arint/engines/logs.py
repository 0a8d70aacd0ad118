"""Logs that stay small: copy and truncate, since the writers must outlive the agent and so own their files.

The writers append (O_APPEND), so that after a truncation they go on at the beginning. What is written between copy and
truncation is lost: a price paid only by a process that prints megabytes a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Final

LIMIT: Final = 8 * 1024**2
KEPT: Final = 2
"""Old files beside the current one: `x.log.1` is the newer."""
_CALM = 0.25
_BUSY = 0.05


async def keep_logs_small(folder: Path, *, limit: int = LIMIT, kept: int = KEPT) -> None:
    """Rotate every `*.log` of `folder` that passes `limit` bytes, until cancelled.

    While a log grows fast it is looked at 20 times a second, so that a gigabyte printed at once does not stay on disk.
    """
    sizes: dict[str, int] = {}
    while True:
        growth = await asyncio.to_thread(_sweep, folder, sizes, limit, kept)
        await asyncio.sleep(_BUSY if growth > limit // 16 else _CALM)


def _sweep(folder: Path, sizes: dict[str, int], limit: int, kept: int) -> int:
    """Rotate what is too large; returns the fastest growth since the last sweep, in bytes."""
    fastest = 0
    for entry in os.scandir(folder):
        if not entry.name.endswith(".log"):
            continue
        with contextlib.suppress(OSError):  # gone meanwhile, or there is no room: the next sweep sees
            size = entry.stat(follow_symlinks=False).st_size
            fastest = max(fastest, size - sizes.get(entry.name, 0))
            if size > limit:
                rotate(Path(entry.path), limit=limit, kept=kept)
                size = 0
            sizes[entry.name] = size
    return fastest


def rotate(file: Path, *, limit: int = LIMIT, kept: int = KEPT) -> None:
    """Move the last `limit` bytes of `file` to `file.1`, what was there to `file.2`, and so on; `kept` of them stay.

    On a full disk nothing is moved, and the file is emptied all the same: the space is what is needed then.
    """
    for number in range(kept, 1, -1):
        older = file.with_name(f"{file.name}.{number - 1}")
        if older.exists():
            older.replace(file.with_name(f"{file.name}.{number}"))
    with file.open("r+b", buffering=0) as source:
        size = os.fstat(source.fileno()).st_size
        newest = file.with_name(f"{file.name}.1")
        try:
            if kept:
                _copy(source.fileno(), max(0, size - limit), size, newest)
        except OSError:
            newest.unlink(missing_ok=True)
        finally:
            source.truncate(0)


def _copy(source: int, begin: int, end: int, target: Path) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        while begin < end:
            sent = os.sendfile(descriptor, source, begin, end - begin)
            if sent == 0:
                return
            begin += sent
    finally:
        os.close(descriptor)
