"""`python -m bench [FIGURE…] [--runs N]`: measure, print a table, write bench/results/. Exit 1 if a goal is missed."""

from __future__ import annotations

import argparse
from importlib import import_module

from bench import report

FIGURES = ("accept", "immediate", "worker", "flow", "steps", "files", "sql", "start", "cluster", "dev", "rolling",
           "chaos", "observing", "agents", "placement", "elsewhere")


def main() -> int:
    """Measure what is named, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="measure what ARINT must reach")
    parser.add_argument("figure", nargs="*", choices=[*FIGURES, []], help="which; all if none is named")
    parser.add_argument("--runs", type=int, default=3, help="of each measurement; the best counts (default 3)")
    arguments = parser.parse_args()
    missed = False
    for name in arguments.figure or FIGURES:
        where = report.machine()
        figures: list[report.Figure] = import_module(f"bench.{name}").measure(arguments.runs)
        report.show(figures)
        report.keep(name, figures, where)
        missed |= any(figure.met is False for figure in figures)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
