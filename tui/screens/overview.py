"""The overview: all of a cluster on one screen."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer

from arint.operations.overview import Overview
from tui.bindings import PANELS
from tui.trend import Trends
from tui.widgets import instances, nodes, services, trouble
from tui.widgets.headline import Banner, Headline, Totals
from tui.widgets.panel import Panel

# Measured from the panels: two columns of tables need 160 cells, the totals and the keys 10 lines.
_COLUMNS: list[tuple[int, str]] | None = [(0, "-narrow"), (160, "-wide")]
_LINES: list[tuple[int, str]] | None = [(0, "-tiny"), (10, "-normal")]


class OverviewScreen(Screen[None]):
    """Draws the newest overview, and says when it is old."""

    BINDINGS: ClassVar[list[BindingType]] = PANELS
    HORIZONTAL_BREAKPOINTS = _COLUMNS
    VERTICAL_BREAKPOINTS = _LINES
    AUTO_FOCUS = "#services LiveTable"

    def __init__(self) -> None:
        super().__init__()
        self._overview: Overview | None = None
        self._trends = Trends()
        self._reason: str | None = "waiting for the agent"
        self._stale_for: float | None = None

    def compose(self) -> ComposeResult:
        """Head, panels, keys."""
        yield Headline(markup=False)
        yield Banner(markup=False)
        yield Totals(markup=False)
        with VerticalScroll(id="panels", can_focus=False):
            yield nodes.panel()
            yield services.panel()
            yield instances.panel()
            yield trouble.panel()
        yield Footer(show_command_palette=False, compact=True)

    def show(self, overview: Overview) -> None:
        """A new overview has come."""
        self._overview, self._reason, self._stale_for = overview, None, None
        self._trends.take(overview)
        self._draw_head()
        self._draw_panels()

    def say_stale(self, reason: str, age: float) -> None:
        """None has come for `age` seconds, because of `reason`."""
        self._reason, self._stale_for = reason, age
        self._draw_head()

    def on_mount(self) -> None:
        """Say at once that there is nothing to show yet."""
        self._draw_head()

    def on_resize(self) -> None:
        """Lines and columns depend on the width; they can be drawn once the new sizes are known."""
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        self._draw_head()
        self._draw_panels()

    def _draw_head(self) -> None:
        stale = self._reason is not None
        self.set_class(stale and self._overview is not None, "-stale")
        self.query_one(Headline).show(self._overview, stale_for=self._stale_for if stale else None)
        self.query_one(Banner).show(self._reason, has_data=self._overview is not None)

    def _draw_panels(self) -> None:
        if self._overview is None:
            return
        self.query_one(Totals).show(self._overview, self._trends)
        for panel in self.query(Panel):
            panel.show(self._overview, self._trends)
