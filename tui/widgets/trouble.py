"""What needs a look: systems that are away, and what failed lately."""

from __future__ import annotations

from collections.abc import Iterator

from arint.operations.overview import CircuitView, Failure, Overview
from tui import cells
from tui.trend import Trends
from tui.widgets.panel import Panel
from tui.widgets.table import Heading, Row

HEADINGS = (Heading("SINCE", 5), Heading("WHO"), Heading("WHAT"), Heading("TIMES", 5, True), Heading("WHY"))


def panel() -> Panel:
    """The panel."""
    return Panel("open circuits and recent failures", HEADINGS, rows, id="trouble")


def rows(overview: Overview, _: Trends, width: int) -> list[Row]:
    """The open circuits, the longest open first; then failures, the newest first."""
    return list(_rows(overview, 20 if width < 110 else 40))


def _rows(overview: Overview, width: int) -> Iterator[Row]:
    away = {circuit.connection for circuit in overview.circuits}
    for circuit in overview.circuits:
        yield _circuit(circuit, overview.at, width)
    for failure in overview.failures:
        if failure.kind != "circuit":
            yield _failure(failure, failure.kind, overview.at, width)
        elif failure.who not in away:
            yield _failure(failure, "was away", overview.at, width)


def _circuit(circuit: CircuitView, now: float, width: int) -> Row:
    waiting = ", ".join(circuit.instances)
    return Row(f"open/{circuit.connection}", (
        cells.since(circuit.since, now), cells.name(circuit.connection, width), cells.words("open circuit", "bold red"),
        cells.number(len(circuit.instances)), cells.words(f"it is away; messages wait in {waiting}")))


def _failure(failure: Failure, what: str, now: float, width: int) -> Row:
    return Row(f"{failure.kind}/{failure.who}", (
        cells.since(failure.at, now), cells.name(failure.who, width), cells.words(what, "yellow"),
        cells.number(failure.count), cells.words(failure.text)))
