"""How soon the command line answers, beside `python -c pass`. The median of nine.

The goals (60, 200 and 300 ms) are for a machine on which `python -c pass` takes 12 ms; elsewhere they grow with it.
"""

from __future__ import annotations

import sys
from statistics import median

from bench.report import Figure
from bench.timing import ARINTCTL, milliseconds


def middle(name: str, runs: list[float], goal: float | None) -> Figure:
    """The median of these runs."""
    return Figure(name, round(median(runs), 1), "ms", goal, "less", f"fastest {min(runs):.0f} ms",
                  tuple(round(run, 1) for run in runs))


REFERENCE = 12.0
"""Milliseconds of `python -c pass` where the goals hold as they are written."""


def ruler() -> Figure:
    """What Python itself takes, here and now."""
    return middle("python -c pass", milliseconds(sys.executable, "-c", "pass"), None)


def scaled(goal: float, measured: Figure) -> float:
    """The goal (ms) on this machine; no stricter than written on a faster one."""
    return round(goal * max(measured.value / REFERENCE, 1.0), 1)


def measure(runs: int) -> list[Figure]:
    """What needs no cluster; `get` is measured with the cluster."""
    python = ruler()
    return [
        python,
        middle("arintctl --version", milliseconds(str(ARINTCTL), "--version"), scaled(60, python)),
        middle("arintctl --help", milliseconds(str(ARINTCTL), "--help"), scaled(200, python)),
    ]
