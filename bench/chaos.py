"""200,000 messages while every process is killed -9 in turn: what was lost, what was stored twice (tests/chaos)."""

from __future__ import annotations

import subprocess
import sys

from bench.report import Figure

MESSAGES = 200_000


def measure(runs: int) -> list[Figure]:
    """One drill, whatever `runs` says: it takes many minutes. Its judge's line is the detail."""
    ended = subprocess.run([sys.executable, "-m", "tests.chaos.drill", "--messages", str(MESSAGES)], check=False,
                           capture_output=True, text=True)
    lines = ended.stdout.strip().splitlines()
    verdict = lines[0] if lines else f"no verdict: {ended.stderr.strip()[-300:]}"
    return [Figure(f"drill of {MESSAGES:,} messages, the judge finds fault (0: no)", float(ended.returncode != 0), "",
                   0, "less", verdict)]
