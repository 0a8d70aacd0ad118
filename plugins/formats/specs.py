"""The options of each format, as a user writes them beside its name."""

from __future__ import annotations

import codecs
from typing import Annotated, Literal

import msgspec

from arint.resources.problems import nearest

_NOT_OF_TEXT = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"})
_USUAL = ("utf-8", "utf-16", "utf-32", "latin-1", "iso-8859-2", "iso-8859-15", "cp1250", "cp1252", "cp437", "cp850",
          "ascii", "shift_jis", "gb18030", "big5", "euc-kr", "koi8-r")

Encoding = Annotated[str, msgspec.Meta(description="such as utf-8, latin-1, cp1252; a byte order mark at the beginning "
                                                   "says which of Unicode's it is")]
FieldName = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
OneSign = Annotated[str, msgspec.Meta(min_length=1, max_length=1, description="one character")]
XmlName = Annotated[str, msgspec.Meta(pattern=r"^[^\W\d][\w.:-]*$", description="a name as XML has them")]
LineEnd = Literal["lf", "crlf", "cr"]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What every format made of text may say."""

    encoding: Encoding = "utf-8"

    def __post_init__(self) -> None:
        if self.encoding:
            check_encoding(self.encoding)


def check_encoding(name: str) -> None:
    """Raises ValueError for what is no encoding of text."""
    try:
        found = codecs.lookup(name)
        known = found._is_text_encoding and found.name.replace("-", "_") not in _NOT_OF_TEXT
    except (LookupError, UnicodeError, ValueError):
        known = False
    if not known:
        raise ValueError(f"there is no encoding {name!r} ({nearest(name, _USUAL)})")


class Json(Options, frozen=True, kw_only=True):
    """JSON. As records: the items of the outermost array, or of the array at `path` (`orders.item` for
    `{"orders": [...]}`; `item` stands for each item of an array).
    """

    path: Annotated[str, msgspec.Meta(description="of the records, such as orders.item")] = "item"
    indent: Annotated[int, msgspec.Meta(ge=0, le=16, description="spaces, when written; 0: one line")] = 0


class Ndjson(Options, frozen=True, kw_only=True):
    """A JSON value on each line. As a value: the list of them."""


class Xml(Options, frozen=True, kw_only=True):
    """XML, without document types and entities. An element is an object: attributes as `@name`, children by their
    name (a list where several have it), text as `#text`; one with text alone is that text, an empty one is null.

    When written, `root` is the outermost element (not needed for an object with one name), and `item` is what each item
    of a list is called that has no name.
    """

    encoding: Annotated[str, msgspec.Meta(description="as the document itself says, if not given")] = ""
    namespaces: Annotated[Literal["keep", "drop"], msgspec.Meta(description="drop: names lose their prefix")] = "keep"
    lists: Annotated[list[XmlName], msgspec.Meta(description="elements that are a list, even if there is one")] = []
    record: Annotated[str, msgspec.Meta(description="the elements that are the records; else the root's children")] = ""
    root: XmlName | None = None
    item: XmlName = "item"
    indent: Annotated[int, msgspec.Meta(ge=0, le=16, description="spaces, when written; 0: one line")] = 0


class _Table(Options, frozen=True, kw_only=True):
    quote: Annotated[str, msgspec.Meta(max_length=1, description="one character; empty: nothing is quoted")] = '"'
    escape: Annotated[str, msgspec.Meta(max_length=1, description="goes before a quote that is part of the text; "
                                                                  "else it is doubled")] = ""
    header: Annotated[bool, msgspec.Meta(description="the first line has the names")] = True
    columns: Annotated[list[FieldName], msgspec.Meta(description="the names, instead of the header's; with neither, "
                                                                 "a row is a list")] = []
    skip: Annotated[int, msgspec.Meta(ge=0, le=1_000_000, description="lines before the header")] = 0
    ragged: Annotated[Literal["reject", "fit"], msgspec.Meta(description="a row with another number of columns: fit "
                                                                         "fills with null and cuts off")] = "reject"
    trim: Annotated[bool, msgspec.Meta(description="take spaces around each text away")] = False
    line_end: Annotated[LineEnd, msgspec.Meta(description="when written")] = "crlf"
    mark: Annotated[bool, msgspec.Meta(description="begin with a byte order mark, when written")] = False

    def __post_init__(self) -> None:
        check_encoding(self.encoding)
        if self.mark and not codecs.lookup(self.encoding).name.startswith("utf"):
            raise ValueError(f"mark: {self.encoding} has no byte order mark")
        if len(set(self.columns)) != len(self.columns):
            raise ValueError("columns: a name stands there twice")


class Csv(_Table, frozen=True, kw_only=True):
    """Comma-separated values (RFC 4180). Every value is text; `normalize` gives types."""

    delimiter: OneSign = ","


class Tsv(_Table, frozen=True, kw_only=True):
    """Tab-separated values; otherwise as `csv`."""


class FixedField(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One field of a line: `width` characters, after the field before it or from the character `at` (from 1) on."""

    name: FieldName
    width: Annotated[int, msgspec.Meta(ge=1, le=65536)]
    at: Annotated[int, msgspec.Meta(ge=1, le=1_048_576)] | None = None
    align: Literal["left", "right"] = "left"
    pad: OneSign = " "


class Fixed(Options, frozen=True, kw_only=True):
    """Lines of fields that have a place and a width. Every value is text, without what fills it up."""

    fields: Annotated[list[FixedField], msgspec.Meta(min_length=1)]
    skip: Annotated[int, msgspec.Meta(ge=0, le=1_000_000, description="lines before the first record")] = 0
    ragged: Annotated[Literal["reject", "fit"], msgspec.Meta(description="a line of another length: fit takes what is "
                                                                         "there, and null for the rest")] = "reject"
    line_end: Annotated[LineEnd, msgspec.Meta(description="when written")] = "lf"

    def __post_init__(self) -> None:
        check_encoding(self.encoding)
        if len({field.name for field in self.fields}) != len(self.fields):
            raise ValueError("fields: a name stands there twice")
        end = 0
        for field in self.fields:
            start = field.at - 1 if field.at else end
            if start < end:
                raise ValueError(f"fields: {field.name} begins within the field before it")
            end = start + field.width


class Form(Options, frozen=True, kw_only=True):
    """`application/x-www-form-urlencoded`. A name that comes several times has a list."""

    fields: Annotated[int, msgspec.Meta(ge=1, le=100_000, description="at the most")] = 1000


class Multipart(Options, frozen=True, kw_only=True):
    """`multipart/form-data`. A field is its text; a file is `{filename, content_type, content}`, its content text or,
    where it is none, `{base64: …}`. A name that comes several times has a list. Nothing is unpacked.
    """

    parts: Annotated[int, msgspec.Meta(ge=1, le=10_000, description="at the most")] = 100


class Text(Options, frozen=True, kw_only=True):
    """Text as it is. As records: its lines, without their ends."""


class Bytes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Bytes, written as text in base 64 or hexadecimal. As records: blocks of `size`."""

    text: Literal["base64", "hex"] = "base64"
    size: Annotated[int, msgspec.Meta(ge=1, le=1_048_576, description="bytes of a block")] = 65536
