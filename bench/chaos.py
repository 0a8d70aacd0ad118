"""200,000 orders and all that goes with them (files, large bodies, groups, calls) while every process is killed -9 in
turn: what was lost, what was stored twice (tests/chaos).
"""

from __future__ import annotations

import subprocess
import sys

from bench.report import Figure

ORDERS = 200_000
_ENDING = 300.0
"""Seconds that a drill may take to stop all that it started."""


def measure(runs: int) -> list[Figure]:
    """One drill, whatever `runs` says: it takes many minutes. Its judge's line is the detail."""
    running = subprocess.Popen([sys.executable, "-m", "tests.chaos.drill", "--messages", str(ORDERS)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = running.communicate()
    except BaseException:
        running.terminate()  # it takes its cluster down; a kill would leave that behind
        running.wait(_ENDING)
        raise
    lines = out.strip().splitlines()
    verdict = lines[0] if lines else f"no verdict: {err.strip()[-1500:]}"
    return [Figure(f"drill of {ORDERS:,} orders and all else, the judge finds fault (0: no)",
                   float(running.returncode != 0), "", 0, "less", verdict)]
