"""JSON and NDJSON."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from arint.errors import RejectedError
from arint.flows.json_text import parse_json, write_json
from arint.plugins import Written
from plugins.formats.specs import Json, Ndjson
from plugins.formats.texts import LARGEST_RECORD, Lines, decoded, encoded, recoded


class JsonFormat:
    """One JSON value."""

    def __init__(self, options: Json) -> None:
        self._options = options

    def parse(self, body: bytes, content_type: str = "") -> Any:
        """The value."""
        return parse_json(decoded(body, self._options.encoding).encode())

    def write(self, value: Any) -> Written:
        """On one line, or with `indent`."""
        text = write_json(value)
        if self._options.indent:
            text = msgspec.json.format(text, indent=self._options.indent) + b"\n"
        return _as_json(text, self._options.encoding, "application/json")

    def records(self, stream: BinaryIO) -> Iterator[Any]:
        """What stands at `path`, each as soon as it is complete."""
        import ijson

        bounded = _Bounded(stream, self._options.encoding)
        found = False
        try:
            for value in ijson.items(bounded, self._options.path, use_float=True):
                bounded.used = 0
                found = True
                yield value
        except (ijson.JSONError, UnicodeDecodeError, ValueError, OverflowError) as error:
            raise RejectedError(f"the body is not JSON: {_told(error)}") from None
        if not found and not bounded.any:
            raise RejectedError("the body is empty, not JSON")


class NdjsonFormat:
    """A JSON value on each line."""

    def __init__(self, options: Ndjson) -> None:
        self._options = options

    def parse(self, body: bytes, content_type: str = "") -> Any:
        """The list of them."""
        return list(self.records(io.BytesIO(body)))

    def write(self, value: Any) -> Written:
        """A list as its items, anything else as one line."""
        lines = [write_json(item) + b"\n" for item in (value if isinstance(value, list) else [value])]
        return _as_json(b"".join(lines), self._options.encoding, "application/x-ndjson")

    def records(self, stream: BinaryIO) -> Iterator[Any]:
        """Line by line; empty ones are none."""
        lines = Lines(stream, self._options.encoding, any_end=False)
        for line in lines:
            if line.isspace():
                continue
            try:
                yield parse_json(line.encode())
            except RejectedError as error:
                raise RejectedError(f"line {lines.number}: {error.what}") from None


class _Bounded:
    """A stream of UTF-8 of which no record takes more than LARGEST_RECORD."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._pieces = _Pieces(stream, encoding)
        self.used = 0
        self.any = False

    def read(self, size: int) -> bytes:
        """The next bytes; ijson asks for none to learn that they are bytes."""
        if size == 0:
            return b""
        data = self._pieces.read(size)
        self.any = self.any or (not data.isspace() and bool(data))
        self.used += len(data)
        if self.used > LARGEST_RECORD + size:
            raise RejectedError(f"a record, or what stands before the first, is longer than {LARGEST_RECORD} bytes",
                                remedy="declare the records' place: path: …")
        return data


class _Pieces:
    """A stream in any encoding as UTF-8."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._pieces = recoded(stream, encoding)
        self._left = b""

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        if not self._left:
            self._left = next(self._pieces, b"")
        data, self._left = self._left[:size], self._left[size:]
        return data


def _as_json(text: bytes, encoding: str, content_type: str) -> Written:
    """RFC 8259 knows UTF-8 alone, so another encoding is said."""
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        return Written(text, content_type)
    return Written(encoded(text.decode(), encoding), f"{content_type}; charset={encoding}")


def _told(error: Exception) -> str:
    """Without the part of the text that ijson's C library quotes on the lines after the first."""
    return str(error).partition("\n")[0].strip() or type(error).__name__
