"""CSV and TSV, by the standard library's reader, with names for the columns and the line in every error."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from arint.errors import RejectedError
from arint.flows.json_text import write_json
from arint.plugins import Written
from plugins.formats.specs import Csv, Tsv
from plugins.formats.texts import LARGEST_RECORD, LINE_ENDS, Lines, encoded

_LINE_END = "\r\n"


class CsvFormat:
    """Rows as objects by the names of their columns, or as lists where there are none."""

    content_type = "text/csv"

    def __init__(self, options: Csv | Tsv) -> None:
        self._options = options
        self._dialect: dict[str, Any] = {
            "delimiter": options.delimiter if isinstance(options, Csv) else "\t",
            "quotechar": options.quote or None, "quoting": csv.QUOTE_MINIMAL if options.quote else csv.QUOTE_NONE,
            "escapechar": options.escape or None, "doublequote": not options.escape}
        try:
            csv.reader([], strict=True, **self._dialect)
        except (TypeError, ValueError) as error:
            raise RejectedError(f"not a dialect of CSV: {error}") from None

    def parse(self, body: bytes, content_type: str = "") -> Any:
        """The list of rows."""
        return list(self.records(io.BytesIO(body)))

    def records(self, stream: BinaryIO) -> Iterator[Any]:
        """Row by row; empty lines are none."""
        csv.field_size_limit(LARGEST_RECORD)
        lines = Lines(stream, self._options.encoding)
        lines.skip(self._options.skip)
        rows = self._rows(lines)
        names = self._names(lines, rows)
        if not names:
            yield from rows
            return
        width = len(names)
        for row in rows:
            if len(row) == width:
                yield dict(zip(names, row, strict=True))
            else:
                yield dict(zip(names, self._fitted(row, width, lines.number), strict=True))

    def write(self, value: Any) -> Written:
        """A list of objects or of lists, or one object."""
        rows = value if isinstance(value, list) else [value]
        names = self._options.columns or (list(rows[0]) if rows and isinstance(rows[0], dict) else [])
        text = _Rows(LINE_ENDS[self._options.line_end])
        writer = csv.writer(text, lineterminator=_LINE_END, **self._dialect)
        try:
            if names and self._options.header:
                writer.writerow(names)
            for number, row in enumerate(rows, 1):
                writer.writerow([_cell(cell, number) for cell in _in_order(row, names, number)])
        except csv.Error as error:
            raise RejectedError(f"it cannot be written in this dialect: {error}",
                                remedy="declare quote: or escape:") from None
        charset = self._options.encoding
        header = "present" if names and self._options.header else "absent"
        return Written(encoded("".join(text.rows), charset, mark=self._options.mark),
                       f"{self.content_type}; charset={charset}; header={header}")

    def _rows(self, lines: Lines) -> Iterator[list[str]]:
        reader = csv.reader(lines, strict=True, **self._dialect)
        while True:
            began = lines.number + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise RejectedError(f"line {began}: {_in_words(error)}") from None
            if row:
                yield [cell.strip() for cell in row] if self._options.trim else row

    def _names(self, lines: Lines, rows: Iterator[list[str]]) -> list[str]:
        """The names of the columns; what is read as the header is checked against them."""
        declared = self._options.columns
        if not self._options.header:
            return declared
        found = [name.strip() for name in next(rows, [])]
        if declared:
            if found and len(found) != len(declared):
                raise RejectedError(f"line {lines.number}: {len(found)} columns, but {len(declared)} are declared")
            return declared
        if not found:
            raise RejectedError("there is no header", remedy="declare header: false, and columns: […]")
        for number, name in enumerate(found, 1):
            if not name or name in found[:number - 1]:
                what = "has no name" if not name else "has the name of another"
                raise RejectedError(f"line {lines.number}: column {number} {what}", remedy="declare columns: […]")
        return found

    def _fitted(self, row: list[str], width: int, line: int) -> Sequence[str | None]:
        if self._options.ragged == "reject":
            raise RejectedError(f"line {line}: {len(row)} columns, not {width}")
        return [*row[:width], *[None] * (width - len(row))]


class _Rows:
    """What a writer writes into. It quotes only those of CR and LF that end its own lines, hence both; here they end
    as declared.
    """

    def __init__(self, line_end: str) -> None:
        self.rows: list[str] = []
        self._line_end = line_end

    def write(self, row: str) -> None:
        """One row."""
        self.rows.append(row.removesuffix(_LINE_END) + self._line_end)


class TsvFormat(CsvFormat):
    """As CSV, with tabs."""

    content_type = "text/tab-separated-values"


def _in_words(error: csv.Error) -> str:
    told = str(error)
    if told == "unexpected end of data":
        return "a quote begins here and does not end"
    if told.startswith("field larger"):
        return f"a field is longer than {LARGEST_RECORD} characters: perhaps a quote begins here and does not end"
    return told


def _in_order(row: Any, names: Sequence[str], number: int) -> list[Any]:
    if isinstance(row, dict):
        if not names:
            raise RejectedError(f"row {number} is an object, and those before are none")
        if unknown := row.keys() - set(names):
            raise RejectedError(f"row {number}: {len(unknown)} of its fields are no columns",
                                remedy="declare columns: […], or let a step before take them away")
        return [row.get(name) for name in names]
    if isinstance(row, list):
        if names and len(row) != len(names):
            raise RejectedError(f"row {number}: {len(row)} columns, not {len(names)}")
        return row
    raise RejectedError(f"row {number} is neither an object nor a list")


def _cell(value: Any, number: int) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, dict | list):
        raise RejectedError(f"row {number}: what is nested has no place in a column",
                            remedy="let a step before make it flat")
    return write_json(value).decode()
