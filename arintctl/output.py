"""Results on stdout: a table for people, JSON or YAML for programs, names for pipes. Nothing but data."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from arintctl.options import Format
from arintctl.text import printable


class Column(msgspec.Struct, frozen=True):
    """One column: its title and how to read it off a row. `wide` ones are shown with `-o wide` only."""

    title: str
    value: Callable[[Any], object]
    wide: bool = False


class Table(msgspec.Struct, frozen=True):
    """How rows of one sort are shown. `name` gives what `-o name` prints; `empty` is said where there is nothing."""

    columns: tuple[Column, ...]
    name: Callable[[Any], str]
    empty: str = "nothing found"


def write(text: str) -> None:
    """Text on stdout, ending in one line break."""
    sys.stdout.write(text if text.endswith("\n") or not text else f"{text}\n")


def show_rows(rows: Sequence[Any], table: Table, form: Format) -> None:
    """A list: rows of a table, or an array."""
    if form in ("json", "yaml"):
        show_data(list(rows), form)
    elif form == "name":
        write("\n".join(printable(table.name(row)) for row in rows))
    elif rows:
        write(aligned(rows, table, wide=form == "wide"))
    else:
        sys.stderr.write(f"{table.empty}\n")


def show_data(data: Any, form: Format) -> None:
    """One result as JSON, or as YAML."""
    if form == "yaml":
        import yaml

        write(yaml.safe_dump(msgspec.to_builtins(data), sort_keys=False, allow_unicode=True))
    else:
        write(msgspec.json.format(msgspec.json.encode(data), indent=2).decode())


def aligned(rows: Sequence[Any], table: Table, *, wide: bool) -> str:
    """The rows under their titles, in columns."""
    columns = [column for column in table.columns if wide or not column.wide]
    cells = [[printable(_cell(column.value(row))) for column in columns] for row in rows]
    return columned([[column.title for column in columns], *cells])


def columned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
                     for line in lines)


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
