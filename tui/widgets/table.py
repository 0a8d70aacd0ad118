"""A table that follows data: rows are added, changed and removed in place, so that cursor and scrolling stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from rich.text import Text
from textual.binding import BindingType
from textual.coordinate import Coordinate
from textual.widgets import DataTable

from tui.bindings import ROWS


class Heading(NamedTuple):
    """A column: its title, its width in cells (None: as wide as its widest cell), and whether numbers stand in it."""

    title: str
    width: int | None = None
    is_number: bool = False


class Row(NamedTuple):
    """A row, and the key by which it is known when it changes."""

    key: str
    cells: tuple[Text, ...]


class First(Text):
    """The first cell of a row; it knows the row's key, by which rows are put in order."""

    row: str = ""


class LiveTable(DataTable[Text]):
    """Shows rows in the order given."""

    BINDINGS: ClassVar[list[BindingType]] = ROWS

    def __init__(self, headings: Sequence[Heading], **arguments: Any) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False, **arguments)
        self._headings = headings
        self._keys: list[str] = []

    def on_mount(self) -> None:
        """Make the columns."""
        for heading in self._headings:
            label = Text(heading.title, justify="right" if heading.is_number else "left", no_wrap=True)
            self.add_column(label, width=heading.width, key=heading.title)

    def show(self, rows: Sequence[Row]) -> None:
        """Make the table what the rows say, touching only what differs."""
        rows = _distinct(rows)
        keys = [row.key for row in rows]
        chosen = self._chosen()
        wanted, known = set(keys), set(self._keys)
        for gone in known - wanted:
            self.remove_row(gone)
        for row in rows:
            if row.key in known:
                self._change(row)
            else:
                self.add_row(_first(row), *row.cells[1:], key=row.key)
        if keys != [key for key in self._keys if key in wanted]:
            self._order(keys)
            self._choose(chosen)
        elif known - wanted:
            self._choose(chosen)
        self._keys = keys

    def _change(self, row: Row) -> None:
        for heading, new in zip(self._headings, (_first(row), *row.cells[1:]), strict=True):
            old = self.get_cell(row.key, heading.title)
            if (old.plain, old.style) != (new.plain, new.style):
                wider = heading.width is None and old.cell_len != new.cell_len
                self.update_cell(row.key, heading.title, new, update_width=wider)

    def _order(self, keys: Sequence[str]) -> None:
        rank = {key: place for place, key in enumerate(keys)}
        self.sort(self._headings[0].title, key=lambda cell: rank[cell.row])

    def _chosen(self) -> str | None:
        """The key of the row under the cursor."""
        if not self.is_valid_row_index(self.cursor_row):
            return None
        return self.coordinate_to_cell_key(Coordinate(self.cursor_row, 0)).row_key.value

    def _choose(self, key: str | None) -> None:
        """Put the cursor back on the row where it was, wherever that row is now."""
        if key is not None and key in self.rows:
            self.move_cursor(row=self.get_row_index(key), scroll=False)


def _distinct(rows: Sequence[Row]) -> list[Row]:
    """Each key once; what the agent names twice is shown twice."""
    seen: Counter[str] = Counter()
    found = []
    for row in rows:
        seen[row.key] += 1
        found.append(row if seen[row.key] == 1 else Row(f"{row.key}\n{seen[row.key]}", row.cells))
    return found


def _first(row: Row) -> First:
    cell = row.cells[0]
    first = First(cell.plain, style=cell.style, no_wrap=True, end="")
    first.row = row.key
    return first
