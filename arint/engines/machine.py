"""What this machine (or the container in it) has to give: processors, memory, disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def processors() -> int:
    """How many may be used: by affinity, and by the container's quota, which Go programs do not always see."""
    count = len(os.sched_getaffinity(0))
    quota, _, period = _read(_CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        count = min(count, max(1, -(-int(quota) // int(period))))
    return count


def memory() -> int:
    """The bytes of memory, within the container's limit."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _read(_CGROUP / "memory.max").strip()
    return min(total, int(limit)) if limit.isdigit() else total


def disk_free(folder: Path) -> int:
    """The bytes that this user may still write there."""
    return shutil.disk_usage(folder).free


def disk_used(folder: Path) -> int:
    """The bytes that the files of `folder` take; files that vanish meanwhile count nothing."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).lstat().st_blocks * 512
            except OSError:
                continue
    return total


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
