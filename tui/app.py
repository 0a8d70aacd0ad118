"""The console's application: one source, one feed, one overview."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import PurePath
from typing import ClassVar

from textual.app import App
from textual.binding import BindingType

from arint.operations.overview import Overview
from tui.bindings import GLOBAL
from tui.feed import REDIAL, SILENCE, Feed
from tui.screens.help import HelpScreen
from tui.screens.overview import OverviewScreen
from tui.source import Source

STALE_AFTER = 3.0
"""Seconds after which data that should come once a second is called stale."""


class Console(App[None]):
    """Shows what `source` tells until its user quits. `ticks` gives seconds that never jump."""

    CSS_PATH: ClassVar[list[str | PurePath]] = ["screens/overview.tcss", "screens/help.tcss"]
    TITLE = "ARWADM console"
    BINDINGS: ClassVar[list[BindingType]] = GLOBAL
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, source: Source, *, redial: float = REDIAL, silence: float = SILENCE,
                 ticks: Callable[[], float] = time.monotonic) -> None:
        # Textual makes greys of colours for NO_COLOR; with the terminal's own colours it drops them altogether.
        super().__init__(ansi_color=True if os.environ.get("NO_COLOR") else None)
        self._overview = OverviewScreen()
        self._feed = Feed(source, self._take, self._fall_silent, redial=redial, silence=silence)
        self._ticks = ticks
        self._last = self._begun = ticks()
        self._reason: str | None = None
        self._has_data = False

    def get_default_screen(self) -> OverviewScreen:
        """The overview is the screen beneath all others."""
        return self._overview

    def on_mount(self) -> None:
        """Begin to follow; the worker and the timer end with the application."""
        self.run_worker(self._feed.run(), name="feed", group="feed", exclusive=True)
        self.set_interval(1.0, self.check_age, name="age")

    def check_age(self) -> None:
        """Say so when the data grows old, whoever is to blame: a dead agent, a hung one, a lost connection."""
        age = self._ticks() - self._last
        if self._reason is not None or age >= STALE_AFTER:
            self._overview.say_stale(self._reason or "the agent says nothing", age)

    def action_toggle_help(self) -> None:
        """Show the help, or close it."""
        if isinstance(self.screen, HelpScreen):
            self.pop_screen()
        else:
            self.push_screen(HelpScreen())

    def action_reconnect(self) -> None:
        """Follow anew, at once."""
        self.run_worker(self._feed.run(), name="feed", group="feed", exclusive=True)

    def _take(self, overview: Overview) -> None:
        self._last, self._reason = self._ticks(), None
        self._overview.show(overview)

    def _fall_silent(self, reason: str) -> None:
        self._reason = reason
        self.check_age()
