"""XML by expat, with everything off that makes it dangerous: no document type, hence no entities of one's own."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from arint.errors import RejectedError
from arint.flows.json_text import DEEPEST, write_json
from arint.plugins import Written
from plugins.formats.specs import Xml
from plugins.formats.texts import LARGEST_RECORD, encoded, recoded

_PIECE = 65536
_RETURN = {"\r": "&#13;"}
"""A reader makes line feeds of plain ones."""
_NAME = re.compile(r"[^\W\d][\w.:-]*")
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class XmlFormat:
    """An element as an object; see the options' text for how."""

    def __init__(self, options: Xml) -> None:
        self._options = options

    def parse(self, body: bytes, content_type: str = "") -> Any:
        """The document: an object with the root's name alone."""
        reader = _Reader(self._options, record="")
        if self._options.encoding:
            body = b"".join(recoded(io.BytesIO(body), self._options.encoding))
        reader.feed(body, last=True)
        return reader.document

    def records(self, stream: BinaryIO) -> Iterator[Any]:
        """The elements called `record`, or the children of the root, each as soon as it is complete."""
        reader = _Reader(self._options, record=self._options.record or "*")
        for piece in recoded(stream, self._options.encoding) if self._options.encoding else _pieces(stream):
            reader.feed(piece)
            yield from reader.taken()
        reader.feed(b"", last=True)
        yield from reader.taken()

    def write(self, value: Any) -> Written:
        """An object with one name, or whatever there is within `root`."""
        root = self._options.root
        if root is None:
            if not isinstance(value, dict) or len(value) != 1:
                raise RejectedError("a document has one outermost element, and this value has not one name",
                                    remedy="declare root: NAME")
            [(root, value)] = value.items()
        if isinstance(value, list):
            value = {self._options.item: value}
        parts: list[str] = []
        _Writer(parts, self._options.indent, self._options.item).element(root, value, 0)
        encoding = self._options.encoding or "utf-8"
        text = f'<?xml version="1.0" encoding="{encoding}"?>\n' + "".join(parts)
        return Written(encoded(text, encoding), f"application/xml; charset={encoding}")


class _Reader:
    """Builds values while expat reads. With a `record`, only these elements are kept."""

    def __init__(self, options: Xml, record: str) -> None:
        self.document: Any = None
        self._drop = options.namespaces == "drop"
        self._lists = frozenset(options.lists)
        self._record = record
        self._open: list[tuple[str, dict[str, Any], list[str]]] = []
        self._depth = 0
        self._records: list[Any] = []
        self._fed = self._seen = 0
        self._parser = expat.ParserCreate("utf-8" if options.encoding else None)
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text

    def feed(self, data: bytes, *, last: bool = False) -> None:
        """Read on. Raises RejectedError, which names line and column."""
        self._fed += len(data)
        try:
            self._parser.Parse(data, last)
        except expat.ExpatError as error:
            raise RejectedError(f"the body is not XML: {error}", remedy=_remedy(error)) from None
        except (LookupError, ValueError) as error:  # an encoding that is none, or that expat cannot use
            raise RejectedError(f"the body is not XML: {error}", remedy="declare its encoding: encoding: …") from None
        if self._record and self._fed - self._seen > LARGEST_RECORD:
            line = self._parser.CurrentLineNumber
            raise RejectedError(f"line {line}: a record, or what is between two, is longer than {LARGEST_RECORD} bytes",
                                remedy="declare what the records are called: record: …")

    def taken(self) -> list[Any]:
        """The records that are complete."""
        taken, self._records = self._records, []
        return taken

    def _doctype(self, *_: Any) -> None:
        line = self._parser.CurrentLineNumber
        raise RejectedError(f"line {line}: a document type (<!DOCTYPE) is refused: it can make small documents huge, "
                            "and fetch files", remedy="the sender must leave it out")

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise RejectedError(f"the body is nested too deep: at most {DEEPEST} elements within each other")
        name = self._called(name)
        if self._record and not self._open:
            self._seen = self._fed
            if (self._depth == 1 and self._record == "*") or self._record not in ("*", name):
                return
        found: dict[str, Any] = {}
        for key, value in attributes.items():
            if not (self._drop and (key == "xmlns" or key.startswith("xmlns:"))):
                found["@" + self._called(key)] = value
        self._open.append((name, found, []))

    def _text(self, text: str) -> None:
        if self._open:
            self._open[-1][2].append(text)

    def _end(self, name: str) -> None:
        self._depth -= 1
        if not self._open:
            return
        name, found, pieces = self._open.pop()
        text = "".join(pieces).strip()
        value: Any = found or text or None
        if found and text:
            found["#text"] = text
        if self._open:
            self._put(self._open[-1][1], name, value)
        elif self._record:
            self._records.append(value)
            self._seen = self._fed
        else:
            self.document = {name: [value] if name in self._lists else value}

    def _put(self, into: dict[str, Any], name: str, value: Any) -> None:
        if name not in into:
            into[name] = [value] if name in self._lists else value
        elif isinstance(into[name], list):
            into[name].append(value)
        else:
            into[name] = [into[name], value]

    def _called(self, name: str) -> str:
        return name.rpartition(":")[2] if self._drop else name


class _Writer:
    """Writes elements; what would not be XML is refused, never written."""

    def __init__(self, parts: list[str], indent: int, item: str) -> None:
        self._parts = parts
        self._indent = indent
        self._item = item

    def element(self, name: str, value: Any, depth: int) -> None:
        if depth >= DEEPEST:
            raise RejectedError(f"the value is nested too deep: at most {DEEPEST} elements within each other")
        attributes, text, children = self._split(value)
        self._parts.append(f"{self._space(depth) if depth else ''}<{_checked(name)}{attributes}")
        if value is None or (not text and not children):
            self._parts.append("/>")
            return
        self._parts.append(f">{text}")
        for child, item in children:
            self.element(child, item, depth + 1)
        self._parts.append(f"{self._space(depth) if children else ''}</{name}>")

    def _split(self, value: Any) -> tuple[str, str, list[tuple[str, Any]]]:
        """Attributes and text as they are written, and the children."""
        if isinstance(value, list):
            return "", "", [(self._item, item) for item in value]
        if not isinstance(value, dict):
            return "", escape(_text_of(value), _RETURN), []
        attributes, text, children = "", "", list[tuple[str, Any]]()
        for name, item in value.items():
            if name.startswith("@"):
                attributes += f" {_checked(name[1:])}={quoteattr(_text_of(item))}"
            elif name == "#text":
                text = escape(_text_of(item), _RETURN)
            else:
                children += [(name, one) for one in (item if isinstance(item, list) else [item])]
        return attributes, text, children

    def _space(self, depth: int) -> str:
        return "\n" + " " * (self._indent * depth) if self._indent else ""


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    while piece := stream.read(_PIECE):
        yield piece


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise RejectedError("a field's name cannot be the name of an element or attribute",
                            remedy="let a step before give it another name")
    return name


def _text_of(value: Any) -> str:
    if isinstance(value, dict | list):
        raise RejectedError("what is nested cannot be an attribute or a text")
    text = value if isinstance(value, str) else "" if value is None else write_json(value).decode()
    if _FORBIDDEN.search(text):
        raise RejectedError("a text has a character that XML does not have")
    return text


def _remedy(error: expat.ExpatError) -> str | None:
    return "declare its encoding: encoding: …" if "encoding" in str(error) else None
