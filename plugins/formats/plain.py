"""Text and bytes, as they are."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any, BinaryIO

from arint.errors import RejectedError
from arint.flows.json_text import write_json
from arint.plugins import Written
from plugins.formats.specs import Bytes, Text
from plugins.formats.texts import Lines, decoded, encoded


class TextFormat:
    """A text."""

    def __init__(self, options: Text) -> None:
        self._encoding = options.encoding

    def parse(self, body: bytes, content_type: str = "") -> Any:
        """The text."""
        return decoded(body, self._encoding)

    def write(self, value: Any) -> Written:
        """Text as it is; anything else as JSON writes it."""
        text = value if isinstance(value, str) else write_json(value).decode()
        return Written(encoded(text, self._encoding), f"text/plain; charset={self._encoding}")

    def records(self, stream: BinaryIO) -> Iterator[Any]:
        """Line by line, without their ends."""
        for line in Lines(stream, self._encoding):
            yield line.rstrip("\r\n")


class BytesFormat:
    """Bytes, as the text of them."""

    def __init__(self, options: Bytes) -> None:
        self._options = options

    def parse(self, body: bytes, content_type: str = "") -> Any:
        """Their text."""
        return body.hex() if self._options.text == "hex" else b64encode(body).decode()

    def write(self, value: Any) -> Written:
        """The bytes that the text stands for."""
        if not isinstance(value, str):
            raise RejectedError(f"bytes are written as text in {self._options.text}")
        try:
            body = bytes.fromhex(value) if self._options.text == "hex" else b64decode(value, validate=True)
        except ValueError:
            raise RejectedError(f"the text is not {self._options.text}") from None
        return Written(body, "application/octet-stream")

    def records(self, stream: BinaryIO) -> Iterator[Any]:
        """Block by block."""
        while block := stream.read(self._options.size):
            yield self.parse(block)
