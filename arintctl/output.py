"""Results on stdout: a table for people, JSON or YAML for programs, names for pipes. Nothing but data."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from arintctl import layout
from arintctl.layout import columned
from arintctl.options import Format
from arintctl.text import Moment, clock, clock_today, printable

__all__ = ["Column", "Table", "aligned", "columned", "complete", "show_data", "show_rows", "write"]


class Column(msgspec.Struct, frozen=True):
    """One column: its title and how to read it off a row.

    `wide` ones are shown with `-o wide` only. On a terminal that is too narrow, `roomy` ones are left out, from the
    last to the first, and `long` ones (the last columns of their table) are wrapped.
    """

    title: str
    value: Callable[[Any], object]
    wide: bool = False
    roomy: bool = False
    long: bool = False


class Table(msgspec.Struct, frozen=True):
    """How rows of one sort are shown. `name` gives what `-o name` prints; `empty` is said where there is nothing."""

    columns: tuple[Column, ...]
    name: Callable[[Any], str]
    empty: str = "nothing found"


def write(text: str) -> None:
    """Text on stdout, ending in one line break."""
    sys.stdout.write(text if text.endswith("\n") or not text else f"{text}\n")


def show_rows(rows: Sequence[Any], table: Table, form: Format, *, empty: str = "") -> None:
    """A list: rows of a table, or an array. Where there is nothing, `empty` (or the table's word) is said."""
    if form in ("json", "yaml"):
        show_data(list(rows), form)
    elif form == "name":
        write("\n".join(printable(table.name(row)) for row in rows))
    elif rows:
        write(aligned(rows, table, wide=form == "wide", width=layout.width()))
    else:
        sys.stderr.write(f"{empty or table.empty}\n")


def show_data(data: Any, form: Format) -> None:
    """One result as JSON, or as YAML."""
    if form == "yaml":
        import yaml

        write(yaml.safe_dump(complete(data), sort_keys=False, allow_unicode=True))
    else:
        write(msgspec.json.format(msgspec.json.encode(complete(data)), indent=2).decode())


def complete(value: Any) -> Any:
    """The value with every field of every Struct, also those that stand at their default: programs rely on them."""
    if isinstance(value, msgspec.Struct):
        kind = type(value)
        pairs = zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
        found = {written: getattr(value, name) for written, name in pairs}
        return {name: complete(one) for name, one in found.items() if one is not msgspec.UNSET}
    if isinstance(value, dict):
        return {key: complete(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [complete(one) for one in value]
    return msgspec.to_builtins(value)


def aligned(rows: Sequence[Any], table: Table, *, wide: bool, width: int | None = None) -> str:
    """The rows under their titles, in columns; fitted to `width`, unless they shall be wide."""
    columns = [column for column in table.columns if wide or not column.wide]
    fitted = None if wide else width
    cells = [[printable(_cell(column.value(row), short=fitted is not None)) for column in columns] for row in rows]
    lines = [[column.title for column in columns], *cells]
    if fitted is None:
        return columned(lines)
    return layout.fitted(lines, fitted, roomy=[column.roomy for column in columns],
                         long=[column.long for column in columns])


def _cell(value: object, *, short: bool) -> str:
    if isinstance(value, Moment):
        value = clock_today(value) if short else clock(value)
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
