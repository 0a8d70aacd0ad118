"""A whole cluster on this machine, idle: how soon `up` is ready, how soon `get` answers, and the memory it takes."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from bench.cpu import memory_mib
from bench.report import Figure, best
from bench.start import middle, ruler, scaled
from bench.timing import ARINTCTL, milliseconds, run_time

SETTLE = 5.0
"""Seconds after `up` until the memory is looked at."""


def measure(runs: int) -> list[Figure]:
    """From an empty folder each time."""
    ups: list[float] = []
    for number in range(runs):
        with tempfile.TemporaryDirectory(prefix="arint-bench-") as folder:
            home = str(Path(folder) / "home")
            try:
                ups.append(run_time(str(ARINTCTL), "up", "--quiet", "--home", home))
                if number == runs - 1:
                    time.sleep(SETTLE)
                    python = ruler()
                    gets = milliseconds(str(ARINTCTL), "get", "service", "--home", home)
                    figures = _memory(home)
            finally:
                subprocess.run([str(ARINTCTL), "down", "--purge", "--yes", "--quiet", "--home", home], check=True,
                               stdout=subprocess.DEVNULL)
    return [best("arintctl up, from an empty folder to ready", ups, "s", 8, "less"),
            python, middle("arintctl get service", gets, scaled(300, python)), *figures]


def _memory(home: str) -> list[Figure]:
    told = subprocess.run([str(ARINTCTL), "status", "-o", "json", "--home", home], check=True, capture_output=True)
    status: dict[str, Any] = msgspec.json.decode(told.stdout)
    pids = {"agent": status["nodes"][0]["pid"]} | {one["name"]: one["pid"] for one in status["engines"]} \
        | {one["instance"]: one["pid"] for one in status["instances"]}
    used = {name: memory_mib(pid) for name, pid in pids.items()}
    rss, pss = (sum(each[index] for each in used.values()) for index in (0, 1))
    apart = ", ".join(f"{name} {each[0]:.0f}" for name, each in used.items())
    return [Figure("agent, idle: RSS", round(used["agent"][0], 1), "MiB", 45, "less",
                   f"PSS {used['agent'][1]:.1f} MiB"),
            Figure("whole cluster, idle: RSS", round(rss, 1), "MiB", 400, "less", f"PSS {pss:.1f} MiB; RSS: {apart}")]
