"""The nodes, and the engines that run on them."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from arint.operations.overview import EngineView, NodeView, Overview
from tui import cells
from tui.trend import Trends
from tui.widgets.panel import Panel
from tui.widgets.table import Heading, Row

HEADINGS = (Heading("NAME"), Heading("WHAT", 6), Heading("STATE", 9), Heading("VERSION", 8), Heading("PID", 7, True),
            Heading("MEMORY", 9, True), Heading("RESTARTS", 8, True), Heading("UP", 4, True), Heading("ERROR"))


def panel() -> Panel:
    """The panel."""
    return Panel("nodes and engines", HEADINGS, rows, code="ARSRV", id="nodes")


def rows(overview: Overview, _: Trends, width: int) -> list[Row]:
    """A row a node, and one for each of its engines."""
    return list(_rows(overview, 14 if width < 110 else 32))


def _rows(overview: Overview, width: int) -> Iterator[Row]:
    many = len(overview.nodes) > 1
    for node in overview.nodes:
        yield Row(f"node/{node.node}", _cells("node", node.node, node, node.state, None, overview.at, width))
        for engine in overview.engines:
            if engine.node == node.node:
                name = f"{engine.name}@{engine.node}" if many else engine.name
                yield Row(f"engine/{name}", _cells("engine", name, engine, "ready" if engine.ready else "not ready",
                                                   engine.restarts, overview.at, width))


def _cells(what: str, name: str, one: NodeView | EngineView, state: str, restarts: int | None, now: float,
           width: int) -> tuple[Text, ...]:
    return (cells.name(name, width), cells.words(what), cells.state(state), cells.name(one.version, 8),
            cells.process(one.pid), cells.memory(one.memory), cells.number(restarts, "" if restarts else "dim"),
            cells.since(one.started, now), cells.words(one.error))
