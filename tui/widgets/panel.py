"""A titled part of the overview with one table in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical

from arint.operations.overview import Overview
from tui.trend import Trends
from tui.widgets.table import Heading, LiveTable, Row

Rows = Callable[[Overview, Trends, int], list[Row]]
"""The rows of an overview, for a table of so many cells."""


class Panel(Vertical):
    """One sort of thing: `code` is what administrators of ARINT know it by, `word` what the code calls it."""

    def __init__(self, word: str, headings: Sequence[Heading], rows: Rows, *, code: str = "", empty: str = "none",
                 id: str) -> None:
        super().__init__(id=id)
        self._word = f"{code} {word}".strip()
        self._empty = empty
        self._rows = rows
        self.table = LiveTable(headings)
        self.border_title = self._word

    def compose(self) -> ComposeResult:
        """The table is all there is."""
        yield self.table

    def show(self, overview: Overview, trends: Trends) -> None:
        """Bring the table up to date."""
        rows = self._rows(overview, trends, self.size.width)
        self.table.show(rows)
        self.border_title = f"{self._word} ({len(rows)})" if rows else f"{self._word}: {self._empty}"

    def text(self) -> list[list[str]]:
        """What the table shows, as plain text."""
        return [[cell.plain if isinstance(cell, Text) else str(cell) for cell in self.table.get_row_at(index)]
                for index in range(self.table.row_count)]
