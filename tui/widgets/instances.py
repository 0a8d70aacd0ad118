"""The instances: one worker process each."""

from __future__ import annotations

from arint.operations.overview import Overview, identity
from tui import cells
from tui.trend import Trends, throughput
from tui.widgets.panel import Panel
from tui.widgets.table import Heading, Row

HEADINGS = (Heading("INSTANCE"), Heading("STATE", 9), Heading("SET", 5, True), Heading("MSG/S", 8, True),
            Heading("IN FLIGHT", 9, True), Heading("MEMORY", 9, True), Heading("RESTARTS", 8, True),
            Heading("UP", 4, True), Heading("PID", 7, True), Heading("NODE"), Heading("SERVICE"), Heading("ERROR"))


def panel() -> Panel:
    """The panel."""
    return Panel("instances", HEADINGS, rows, code="ARLDB", id="instances")


def rows(overview: Overview, _: Trends, width: int) -> list[Row]:
    """A row an instance."""
    name = 20 if width < 110 else 40
    return [Row("/".join(identity(one)), (
        cells.name(one.instance, name), cells.state(one.state), cells.number(one.change_set or None),
        cells.rate(throughput(one.rates)), cells.number(one.in_flight), cells.memory(one.memory),
        cells.number(one.restarts, "" if one.restarts else "dim"), cells.since(one.started, overview.at),
        cells.process(one.pid), cells.name(one.node, name), cells.name(one.service, name), cells.words(one.error)))
        for one in overview.instances]
