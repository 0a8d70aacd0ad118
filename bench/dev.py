"""`arintctl dev`: from the moment a file is written to the first answer by the new version.

A person's view: the file is saved, and a caller asks until the answer is the new one. `dev` runs as people run it.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

import httpx

from bench.report import Figure, best
from tests.hostile.system import System

SAVES = 7
MANIFEST = """
kind: Service
name: work
source: work.py:work
---
kind: Channel
name: work
http: {path: /work}
to: service/work
delivery: immediate
"""
CODE = "def work(body):\n    return {{'version': {number}}}\n"
WITHIN = 30.0


def measure(runs: int) -> list[Figure]:
    """One cluster, one `dev`; `runs` times seven saves, each after the last has been served for a while."""
    with tempfile.TemporaryDirectory(prefix="arint-bench-") as folder, System(Path(folder)) as system:
        system.write({"work/work.yaml": MANIFEST, "work/work.py": CODE.format(number=0)})
        dev = system.begin("dev", "work")
        try:
            _served(system, 0)
            took = [_save(system, number) for number in range(1, runs * SAVES + 1)]
        finally:
            dev.send_signal(2)
            dev.communicate(timeout=20)
    middles = [median(took[first:first + SAVES]) for first in range(0, len(took), SAVES)]
    return [best("dev: save to served", middles, "s", 1.0, "less",
                 f"median of {SAVES} saves; of all: worst {max(took):.2f}, best {min(took):.2f}")]


def _save(system: System, number: int) -> float:
    time.sleep(1.0)
    began = time.perf_counter()
    (system.folder / "work/work.py").write_text(CODE.format(number=number))
    _served(system, number)
    return time.perf_counter() - began


def _served(system: System, number: int) -> None:
    """Ask until that version answers."""
    deadline = time.monotonic() + WITHIN
    with httpx.Client(timeout=5.0, trust_env=False) as client:
        while True:
            try:
                answer = client.post(system.url("/work"), json={})
                if answer.status_code == 200 and answer.json()["version"] == number:
                    return
            except httpx.HTTPError:
                pass
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(["dev"], WITHIN)
            time.sleep(0.005)
