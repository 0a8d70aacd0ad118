"""Forms as browsers send them (`application/x-www-form-urlencoded`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, urlencode

from arint.errors import RejectedError
from arint.flows.json_text import write_json
from arint.plugins import Written
from plugins.formats.specs import Form
from plugins.formats.texts import LARGEST_RECORD, filled


class FormFormat:
    """An object of texts; a name that comes several times has a list."""

    def __init__(self, options: Form) -> None:
        self._options = options

    def parse(self, body: bytes, content_type: str = "") -> Any:
        """The object."""
        try:
            pairs = parse_qsl(body.decode("ascii").strip(), keep_blank_values=True, strict_parsing=bool(body.strip()),
                              encoding=self._options.encoding, errors="strict", max_num_fields=self._options.fields)
        except UnicodeDecodeError as error:
            what = "it has bytes beyond ASCII" if error.encoding == "ascii" else f"a value is not {error.encoding}"
            raise RejectedError(f"the body is not a form: {what}") from None
        except ValueError as error:
            many = "fields exceeded" in str(error)
            what = f"it has more than {self._options.fields} fields" if many else "a field has no ="
            raise RejectedError(f"the body is not a form: {what}") from None
        return gathered(pairs)

    def write(self, value: Any) -> Written:
        """An object of single values, or of lists of them."""
        if not isinstance(value, dict):
            raise RejectedError("only an object can be written as a form")
        pairs = [(name, _text(item, name)) for name, items in value.items()
                 for item in (items if isinstance(items, list) else [items])]
        try:
            text = urlencode(pairs, encoding=self._options.encoding, errors="strict")
        except UnicodeEncodeError:
            raise RejectedError(f"a value does not exist in {self._options.encoding}") from None
        return Written(text.encode("ascii"), "application/x-www-form-urlencoded")

    def records(self, stream: BinaryIO) -> Iterator[Any]:
        """A form is one record."""
        yield self.parse(whole(stream))


def gathered(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of pairs; what comes several times becomes a list."""
    seen: dict[str, list[Any]] = {}
    for name, value in pairs:
        seen.setdefault(name, []).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in seen.items()}


def whole(stream: BinaryIO) -> bytes:
    """All of a stream that holds one record. Raises RejectedError if it is larger than a record may be."""
    body = filled(stream, LARGEST_RECORD + 1)
    if len(body) > LARGEST_RECORD:
        raise RejectedError(f"a record is longer than {LARGEST_RECORD} bytes")
    return body


def _text(value: Any, name: str) -> str:
    if isinstance(value, dict | list):
        raise RejectedError(f"the field {name} is nested")
    return value if isinstance(value, str) else "" if value is None else write_json(value).decode()
