"""Folders below a folder, reached step by step and never over a link: what is opened lies within."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def opened_root(path: str | bytes, *, make: bool = False) -> int:
    """The folder itself; the way to it may lead over links, which its owner has set. Raises OSError."""
    if make:
        os.makedirs(path, mode=0o750, exist_ok=True)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def opened_below(root: int, parts: Sequence[bytes], *, make: bool = False) -> int:
    """A new descriptor of the folder `parts` below `root`. Raises OSError: NotADirectoryError for a link."""
    current = os.dup(root)
    try:
        for part in parts:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, mode=0o750, dir_fd=current)
            inner = os.open(part, _FOLDER, dir_fd=current)
            os.close(current)
            current = inner
    except BaseException:
        os.close(current)
        raise
    return current


def split(relative: bytes) -> tuple[tuple[bytes, ...], bytes]:
    """The folders and the name of a relative path."""
    *folders, name = relative.split(b"/")
    return tuple(folders), name
