"""Lines of fixed width."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from arint.errors import RejectedError
from arint.flows.json_text import write_json
from arint.plugins import Written
from plugins.formats.specs import Fixed, FixedField
from plugins.formats.texts import LINE_ENDS, Lines, encoded


class _Place(NamedTuple):
    name: str
    start: int
    end: int
    field: FixedField


class FixedFormat:
    """Each line as an object."""

    def __init__(self, options: Fixed) -> None:
        self._options = options
        self._places: list[_Place] = []
        end = 0
        for field in options.fields:
            start = field.at - 1 if field.at else end
            end = start + field.width
            self._places.append(_Place(field.name, start, end, field))
        self._width = end

    def parse(self, body: bytes, content_type: str = "") -> Any:
        """The list of lines."""
        return list(self.records(io.BytesIO(body)))

    def records(self, stream: BinaryIO) -> Iterator[Any]:
        """Line by line; empty ones are none."""
        lines = Lines(stream, self._options.encoding)
        lines.skip(self._options.skip)
        for line in lines:
            text = line.rstrip("\r\n")
            if not text:
                continue
            if len(text) != self._width and self._options.ragged == "reject":
                raise RejectedError(f"line {lines.number}: {len(text)} characters, not {self._width}",
                                    remedy="ragged: fit takes what is there")
            yield {place.name: _taken(text, place) for place in self._places}

    def write(self, value: Any) -> Written:
        """A list of objects, or one."""
        text = io.StringIO(newline="")
        for number, row in enumerate(value if isinstance(value, list) else [value], 1):
            if not isinstance(row, dict):
                raise RejectedError(f"record {number} is no object")
            text.write(self._line(row, number) + LINE_ENDS[self._options.line_end])
        return Written(encoded(text.getvalue(), self._options.encoding),
                       f"text/plain; charset={self._options.encoding}")

    def _line(self, row: dict[str, Any], number: int) -> str:
        line = ""
        for place in self._places:
            line = line.ljust(place.start) + _filled(row.get(place.name), place.field, number)
        return line


def _taken(text: str, place: _Place) -> str | None:
    if place.start >= len(text):
        return None
    found, pad = text[place.start:place.end], place.field.pad
    return found.rstrip(pad) if place.field.align == "left" else found.lstrip(pad)


def _filled(value: Any, field: FixedField, number: int) -> str:
    if isinstance(value, dict | list):
        raise RejectedError(f"record {number}: {field.name} is nested")
    text = "" if value is None else value if isinstance(value, str) else write_json(value).decode()
    if len(text) > field.width:
        raise RejectedError(f"record {number}: {field.name} has {len(text)} characters, more than {field.width}")
    if "\n" in text or "\r" in text:
        raise RejectedError(f"record {number}: {field.name} has more than one line")
    return text.ljust(field.width, field.pad) if field.align == "left" else text.rjust(field.width, field.pad)
