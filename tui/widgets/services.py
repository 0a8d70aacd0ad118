"""The services: how many serve, how fast, how often they fail."""

from __future__ import annotations

from arint.operations.overview import Overview
from tui import cells
from tui.trend import Trends, spark, throughput
from tui.widgets.panel import Panel
from tui.widgets.table import Heading, Row

HEADINGS = (Heading("SERVICE"), Heading("STATE", 9), Heading("READY", 5, True), Heading("MSG/S", 8, True),
            Heading("TREND"), Heading("FAILED", 6, True), Heading("IN FLIGHT", 9, True), Heading("PROCESSED", 11, True),
            Heading("ERROR"))


def panel() -> Panel:
    """The panel."""
    return Panel("services", HEADINGS, rows, code="ARLDB", id="services", empty="none is applied yet")


def rows(overview: Overview, trends: Trends, width: int) -> list[Row]:
    """A row a service."""
    name, trend = (20, 12) if width < 110 else (40, 30)
    return [Row(one.service, (
        cells.name(one.service, name), cells.state(one.state), cells.ratio(one.ready, one.instances),
        cells.rate(throughput(one.rates)), cells.drawn(spark(trends.of(one.service), trend)),
        cells.alarm(one.counts.failed), cells.number(one.in_flight), cells.number(one.counts.processed),
        cells.words(one.error))) for one in overview.services]
