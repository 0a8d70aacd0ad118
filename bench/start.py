"""How soon the command line answers, beside `python -c pass`. The median of nine."""

from __future__ import annotations

import sys
from statistics import median

from bench.report import Figure
from bench.timing import ARINTCTL, milliseconds


def middle(name: str, runs: list[float], goal: float | None) -> Figure:
    """The median of these runs."""
    return Figure(name, round(median(runs), 1), "ms", goal, "less", f"fastest {min(runs):.0f} ms",
                  tuple(round(run, 1) for run in runs))


def measure(runs: int) -> list[Figure]:
    """What needs no cluster; `get` is measured with the cluster."""
    return [
        middle("python -c pass", milliseconds(sys.executable, "-c", "pass"), None),
        middle("arintctl --version", milliseconds(str(ARINTCTL), "--version"), 60),
        middle("arintctl --help", milliseconds(str(ARINTCTL), "--help"), 200),
    ]
