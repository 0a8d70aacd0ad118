"""The first lines: which cluster, which change set, how fresh, and the cluster's totals."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

from arint.operations.overview import Overview
from arint.text import printable
from tui import cells
from tui.trend import ACCEPTED, TOTAL, Trends, spark


class Headline(Static):
    """One line: the cluster, its change set, and whether the data is live."""

    def show(self, overview: Overview | None, *, stale_for: float | None) -> None:
        """`stale_for` is the age of the data in seconds where it is stale."""
        left = Text("ARWADM console", style="bold", no_wrap=True, overflow="ellipsis", end="")
        if overview is not None:
            left.append("  ARCLST cluster ", style="not bold").append_text(
                cells.name(overview.cluster or cells.UNKNOWN, 24))
            left.append(f"  change set {overview.change_set or cells.UNKNOWN}", style="not bold")
        self.update(_spread(left, _freshness(overview, stale_for), self.size.width))


class Totals(Static):
    """Two lines: throughput with its trends, and the counts that matter."""

    def show(self, overview: Overview, trends: Trends) -> None:
        """Bring both lines up to date."""
        rates, width = overview.totals.rates, max(8, min(40, (self.size.width - 46) // 2))
        first = Text(no_wrap=True, overflow="ellipsis")
        for label, rate, key in (("messages/s", rates.processed if rates else None, TOTAL),
                                 ("accepted/s", rates.accepted if rates else None, ACCEPTED)):
            first.append(f"{label} ", style="dim").append(f"{cells.rate(rate).plain:>8} ", style="bold")
            first.append(spark(trends.of(key), width), style="cyan").append("  ")
        self.update(Text("\n").join((first, _counts(overview))))


def _counts(overview: Overview) -> Text:
    totals, letters = overview.totals, overview.totals.dead_letters
    line = Text(no_wrap=True, overflow="ellipsis")
    for label, value, is_alarm in (
            ("dead letters", cells.UNKNOWN if letters is None else f"{letters:,}", bool(letters)),
            ("open circuits", f"{totals.open_circuits:,}", totals.open_circuits > 0),
            ("failed attempts", f"{totals.counts.failed:,}", totals.counts.failed > 0),
            ("in flight", f"{totals.in_flight:,}", False),
            ("ready", f"{totals.ready}/{totals.instances}", totals.ready < totals.instances)):
        line.append(f"{label} ", style="dim").append(value, style="bold red" if is_alarm else "bold").append("   ")
    line.rstrip()
    return line


def _freshness(overview: Overview | None, stale_for: float | None) -> Text:
    if overview is None:
        return Text("no data yet", style="yellow")
    if stale_for is None:
        return Text("live" if overview.ready else "live, not ready", style="green" if overview.ready else "yellow")
    return Text(f"STALE {cells.age(stale_for)}", style="bold red")


def _spread(left: Text, right: Text, width: int) -> Text:
    """One at the left, one at the right end; the right one is what counts where there is no room for both."""
    room = max(0, width - right.cell_len - 1)
    line = left.copy()
    line.truncate(room, overflow="ellipsis", pad=True)
    return line.append(" " if room else "").append_text(right)


class Banner(Static):
    """Says why the data is stale, and what is done about it; not there while the data is live."""

    def show(self, reason: str | None, *, has_data: bool) -> None:
        """`reason` is None while the data is live."""
        self.display = reason is not None
        if reason is not None:
            what = "The data is stale" if has_data else "No data yet"
            last = printable(" ".join(reason.split())[:cells.LONGEST])
            self.update(Text(f"{what}: {last}; trying again", no_wrap=True, overflow="ellipsis"))
