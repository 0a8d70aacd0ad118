"""How long a command takes, from its start to its end."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ARINTCTL = Path(sys.executable).with_name("arintctl")


def run_time(*command: str) -> float:
    """Seconds. Raises CalledProcessError when it fails."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def milliseconds(*command: str, times: int = 9) -> list[float]:
    """Several runs, after one that warms the disk's cache."""
    run_time(*command)
    return [run_time(*command) * 1000 for _ in range(times)]
