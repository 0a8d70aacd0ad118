"""Each format: what is written is read again, and what is wrong is told with its place and without its values."""

from __future__ import annotations

import contextlib
import gzip
import io
import string
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arint.errors import NotFoundError, RejectedError
from arint.flows.check import check_steps
from arint.formats import choice, of_content_type, opened
from plugins.formats import texts


def form(name: str, **options: Any) -> Any:
    import msgspec

    return opened(msgspec.convert({"format": name, **options}, choice("format", "Parse")))


def records(name: str, body: bytes, **options: Any) -> list[Any]:
    return list(form(name, **options).records(io.BytesIO(body)))


texts_of_json = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
xml_texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=20)
cells = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
json_values = st.recursive(st.none() | st.booleans() | st.integers(-2**53, 2**53) | texts_of_json |
                           st.floats(allow_nan=False, allow_infinity=False),
                           lambda inner: st.lists(inner, max_size=4) |
                           st.dictionaries(texts_of_json, inner, max_size=4), max_leaves=20)


@settings(max_examples=60)
@given(json_values, st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-8-sig"]), st.sampled_from([0, 2]))
def test_json(value: Any, encoding: str, indent: int) -> None:
    codec = form("json", encoding=encoding, indent=indent)
    assert codec.parse(codec.write(value).body) == value


@settings(max_examples=60)
@given(st.lists(json_values, max_size=5))
def test_ndjson_and_json_as_records(values: list[Any]) -> None:
    body = form("ndjson").write(values).body
    assert form("ndjson").parse(body) == values
    assert records("ndjson", body) == values
    assert records("json", form("json").write(values).body) == values


@settings(max_examples=60)
@given(st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=5),
       st.sampled_from([",", ";", "\t", "|"]), st.sampled_from(["crlf", "lf", "cr"]),
       st.sampled_from(["", "\\"]), st.booleans(),
       st.sampled_from(["utf-8", "utf-16"]))
def test_csv(rows: list[list[str]], delimiter: str, line_end: str, escape: str, mark: bool, encoding: str) -> None:
    values = [dict(zip("abc", row, strict=True)) for row in rows]
    codec = form("csv", delimiter=delimiter, line_end=line_end, escape=escape, mark=mark, encoding=encoding)
    assert codec.parse(codec.write(values).body) == values


@settings(max_examples=60)
@given(st.lists(st.tuples(st.text(string.ascii_letters, max_size=5), st.text(string.digits, max_size=4)), max_size=5))
def test_fixed(rows: list[tuple[str, str]]) -> None:
    values = [{"name": name, "qty": qty.lstrip("0")} for name, qty in rows]
    qty = {"name": "qty", "width": 4, "align": "right", "pad": "0"}
    codec = form("fixed", fields=[{"name": "name", "width": 5}, qty])
    assert codec.parse(codec.write(values).body) == values


names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,8}", fullmatch=True)
xml_leaves = xml_texts.map(str.strip).filter(bool) | st.none()
xml_elements = st.recursive(xml_leaves, lambda inner: st.dictionaries(
    names, inner | st.lists(inner, min_size=2, max_size=3), min_size=1, max_size=3)
    | st.dictionaries(names.map(lambda name: "@" + name), xml_texts, min_size=1, max_size=2), max_leaves=15)


@settings(max_examples=60)
@given(names, xml_elements, st.sampled_from([0, 2]), st.sampled_from(["", "utf-8", "utf-16"]))
def test_xml(root: str, element: Any, indent: int, encoding: str) -> None:
    codec = form("xml", indent=indent, encoding=encoding)
    assert codec.parse(codec.write({root: element}).body) == {root: element}


@settings(max_examples=60)
@given(st.dictionaries(texts_of_json, texts_of_json | st.lists(texts_of_json, min_size=2, max_size=3), max_size=4))
def test_form(value: dict[str, Any]) -> None:
    assert form("form").parse(form("form").write(value).body) == value


files = st.fixed_dictionaries({"filename": st.text(string.ascii_letters + ' "ä', min_size=1, max_size=9),
                               "content_type": st.just("application/octet-stream"),
                               "content": st.binary(max_size=40).map(lambda raw: {"base64": form("bytes").parse(raw)})})


@settings(max_examples=60)
@given(st.dictionaries(st.text(string.ascii_letters, min_size=1, max_size=5),
                       texts_of_json | files | st.lists(texts_of_json, min_size=2, max_size=3), min_size=1, max_size=4))
def test_multipart(value: dict[str, Any]) -> None:
    codec = form("multipart")
    written = codec.write(value)
    assert codec.write(value) == written
    assert codec.parse(written.body, written.content_type) == value


@settings(max_examples=60)
@given(st.binary(max_size=60), st.sampled_from(["base64", "hex"]))
def test_bytes(raw: bytes, text: str) -> None:
    assert form("bytes", text=text).write(form("bytes", text=text).parse(raw)).body == raw


@settings(max_examples=60)
@given(st.binary(max_size=200), st.sampled_from(["json", "ndjson", "xml", "csv", "tsv", "form", "multipart", "text"]))
def test_whatever_comes_is_a_value_or_rejected(raw: bytes, name: str) -> None:
    for read in (lambda: form(name).parse(raw), lambda: records(name, raw)):
        with contextlib.suppress(RejectedError):
            read()


BAD: list[tuple[str, bytes, dict[str, Any], str]] = [
    ("csv", b'a,b\n1,2\n3\n', {}, "line 3: 1 columns, not 2"),
    ("csv", b'a,b\n1,2\n3,4,5\n', {}, "line 3: 3 columns, not 2"),
    ("csv", b'a,b\n1,"2\n3,4\n', {}, "line 2: a quote begins here and does not end"),
    ("csv", b'a,b\n1,"2"x\n', {}, "line 2: ',' expected after '\"'"),
    ("csv", b"a,a\n1,2\n", {}, "column 2 has the name of another"),
    ("csv", b"a,\n1,2\n", {}, "column 2 has no name"),
    ("csv", b"", {}, "there is no header"),
    ("csv", b"a,b\n1,\xff\n", {}, "the byte at 6 is not utf-8"),
    ("csv", b"a,b\n", {"columns": ["x"]}, "line 1: 2 columns, but 1 are declared"),
    ("fixed", b"abcd\nabc\n", {"fields": [{"name": "x", "width": 4}]}, "line 2: 3 characters, not 4"),
    ("ndjson", b'{"a":1}\n{"a"}\n', {}, "line 2: the body is not JSON"),
    ("json", b"[1,]", {}, "not JSON"),
    ("xml", b"<a>\n<b></a>", {}, "line 2"),
    ("xml", b'<!DOCTYPE a SYSTEM "http://127.0.0.1/x.dtd"><a/>', {}, "document type"),
    ("xml", b'<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><a>&f;</a>', {}, "document type"),
    ("xml", b"<a>&f;</a>", {}, "undefined entity"),
    ("xml", b"<a>" * 1000 + b"</a>" * 1000, {}, "nested too deep"),
    ("form", b"a", {}, "a field has no ="),
    ("form", b"a=%ff", {}, "a value is not utf-8"),
    ("form", b"&".join([b"a=1"] * 1001), {}, "more than 1000 fields"),
    ("multipart", b"--x\r\n\r\n", {}, "not multipart/form-data"),
    ("multipart", b"nothing", {}, "names no boundary"),
    ("text", b"ab\xe4", {}, "the byte at 2 is not utf-8 (declare the encoding it has"),
    ("text", "ab€".encode("utf-16")[:-1], {"encoding": "utf-16"}, "the byte at 6 is not utf-16"),
]


@pytest.mark.parametrize(("name", "body", "options", "told"), BAD)
def test_what_is_wrong_is_told_with_its_place(name: str, body: bytes, options: dict[str, Any], told: str) -> None:
    with pytest.raises(RejectedError) as caught:
        form(name, **options).parse(body)
    assert told in str(caught.value)
    if name not in ("multipart", "form"):
        with pytest.raises(RejectedError):
            records(name, body, **options)


def test_the_billion_laughs_cost_nothing() -> None:
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "lol"}">' for n in range(10))
    body = f"<!DOCTYPE a [{entities}]><a>&l9;</a>".encode()
    tracemalloc.start()
    with pytest.raises(RejectedError, match="document type"):
        form("xml").parse(body)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_zip_bomb_in_a_part_stays_packed() -> None:
    bomb = gzip.compress(bytes(50 * 2**20))
    head = b"--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f.gz\"\r\n"
    whole = head + b"Content-Type: application/gzip\r\n\r\n" + bomb + b"\r\n--x--\r\n"
    found = form("multipart").parse(whole, "multipart/form-data; boundary=x")
    assert len(found["f"]["content"]["base64"]) < 2 * len(bomb)
    encoded = head + b"Content-Encoding: gzip\r\n\r\n" + bomb + b"\r\n--x--\r\n"
    with pytest.raises(RejectedError, match="nothing is unpacked"):
        form("multipart").parse(encoded, "multipart/form-data; boundary=x")


def test_parts_are_counted() -> None:
    part = b"--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n"
    with pytest.raises(RejectedError, match="not multipart/form-data"):
        form("multipart", parts=3).parse(part * 4 + b"--x--\r\n", "multipart/form-data; boundary=x")


def test_lone_cr_ends_a_row_and_stays_within_quotes() -> None:
    assert form("csv").parse(b'a,b\r1,"x\ry"\r2,z') == [{"a": "1", "b": "x\ry"}, {"a": "2", "b": "z"}]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_the_encoding_and_is_no_part_of_the_first_name(encoding: str) -> None:
    body = "Größe,b\n1,ä\n".encode(encoding)
    assert form("csv").parse(body) == [{"Größe": "1", "b": "ä"}]
    assert form("json").parse('"ä"'.encode(encoding)) == "ä"


def test_declared_encodings() -> None:
    assert form("csv", encoding="latin-1").parse("a\nä\n".encode("latin-1")) == [{"a": "ä"}]
    assert form("xml", encoding="cp1252").parse("<a>€</a>".encode("cp1252")) == {"a": "€"}
    assert form("xml").parse('<?xml version="1.0" encoding="windows-1252"?><a>€</a>'.encode("cp1252")) == {"a": "€"}
    with pytest.raises(RejectedError, match="character 1 does not exist in latin-1"):
        form("text", encoding="latin-1").write("€")


def test_rows_that_fit() -> None:
    codec = form("csv", columns=["a", "b"], header=False, ragged="fit", skip=1, trim=True)
    assert codec.parse(b"# made by X\n 1 \n2,3,4\n\n") == [{"a": "1", "b": None}, {"a": "2", "b": "3"}]
    assert form("csv", header=False).parse(b"1,2\n3\n") == [["1", "2"], ["3"]]
    fields = [{"name": "a", "width": 2}, {"name": "b", "at": 4, "width": 2}]
    assert form("fixed", fields=fields, ragged="fit").parse(b"ab\nab-cd\n") == [
        {"a": "ab", "b": None}, {"a": "ab", "b": "cd"}]


@pytest.mark.parametrize(("name", "value", "options"), [
    ("csv", [{"a": {"b": 1}}], {}), ("csv", [{"a": 1}, {"b": 2}], {}), ("csv", [1], {}), ("csv", [{"a": "x,"}], {
        "quote": ""}), ("xml", [1, 2], {}), ("xml", {"a b": 1}, {}), ("xml", {"a": "\x00"}, {}),
    ("xml", {"a": {"@b><c": 1}}, {}), ("fixed", [{"a": "long"}], {"fields": [{"name": "a", "width": 2}]}),
    ("form", [1], {}), ("form", {"a": {"b": 1}}, {}), ("bytes", "!", {}), ("multipart", {"a": {"content": 3}}, {}),
])
def test_what_cannot_be_written_is_rejected(name: str, value: Any, options: dict[str, Any]) -> None:
    with pytest.raises(RejectedError):
        form(name, **options).write(value)


def test_records_of_xml() -> None:
    body = b'<o><head><order>0</order></head><order n="1"><l>a</l></order><order/>text<order>x</order></o>'
    assert records("xml", body) == [{"order": "0"}, {"@n": "1", "l": "a"}, None, "x"]
    assert records("xml", body, record="order") == ["0", {"@n": "1", "l": "a"}, None, "x"]
    assert form("xml", lists=["b"]).parse(b"<a><b>1</b></a>") == {"a": {"b": ["1"]}}
    assert form("xml", namespaces="drop").parse(b'<s:a xmlns:s="u" s:x="1"><s:b/></s:a>') == {
        "a": {"@x": "1", "b": None}}


class Endless(io.RawIOBase):
    """A stream of `size` bytes that were never all there."""

    def __init__(self, head: bytes, piece: bytes, size: int) -> None:
        self.left, self.head, self.piece = size, head, piece

    def read(self, size: int = -1, /) -> bytes:
        if self.head:
            head, self.head = self.head[:size], self.head[size:]
            return head
        if self.left <= 0:
            return b""
        piece = (self.piece * (size // len(self.piece) + 1))[:max(size - size % len(self.piece), len(self.piece))]
        self.left -= len(piece)
        return piece


def peak(made: Iterator[Any]) -> int:
    tracemalloc.start()
    try:
        for _ in made:
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("name", "head", "piece", "options"), [
    ("csv", b"a,b\n", b"1,2222222222222222222\n", {}), ("ndjson", b"", b'{"a":"11111111111111"}\n', {}),
    ("json", b"[0", b',{"a":"11111111111111"}', {"path": "item"}),
    ("fixed", b"", b"1111111111\n", {"fields": [{"name": "a", "width": 10}]}),
    ("text", b"", b"1111111111111111\n", {}), ("xml", b"<a>", b"<b>1111111111111111</b>", {}),
    ("bytes", b"", b"1234", {"size": 65536}),
])
def test_records_of_a_large_stream_take_little_memory(name: str, head: bytes, piece: bytes,
                                                      options: dict[str, Any]) -> None:
    found = form(name, **options).records(Endless(head, piece, 1_500_000))
    assert peak(found if name not in ("xml", "json") else _until_rejected(found)) < 1_250_000


def _until_rejected(found: Iterator[Any]) -> Iterator[Any]:
    """The end of these streams is missing."""
    with contextlib.suppress(RejectedError):
        yield from found


@pytest.mark.parametrize(("name", "head", "options"), [
    ("csv", b'a,b\n1,"', {}), ("csv", b"a", {}), ("ndjson", b'"', {}), ("json", b'["', {}), ("xml", b"<a><b>", {}),
    ("xml", b"<a><b ", {}), ("text", b"", {}), ("form", b"a=", {}), ("multipart", b"--x\r\n", {}),
])
def test_a_record_without_end_is_refused_in_time(name: str, head: bytes, options: dict[str, Any],
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("texts", "jsons", "tables", "xmls", "forms"):
        monkeypatch.setattr(f"plugins.formats.{module}.LARGEST_RECORD", 2**18, raising=False)
    assert texts.LARGEST_RECORD == 2**18
    stream = Endless(head, b"x", 2**24)
    with pytest.raises(RejectedError, match="longer than"):
        list(form(name, **options).records(stream))
    assert stream.left > 2**23


def test_formats_are_found_by_content_type() -> None:
    assert of_content_type("text/csv; charset=latin-1") == "csv"
    assert of_content_type("application/problem+json") == "json"
    assert of_content_type("image/svg+xml") == "xml"
    assert of_content_type("image/png") is None
    with pytest.raises(NotFoundError, match="csv"):
        opened("cvs")


@pytest.mark.parametrize(("written", "told"), [
    ({"parse": "cvs"}, 'did you mean "csv"?'), ({"parse": {"format": "cvs"}}, 'did you mean "csv"?'),
    ({"parse": {"format": "csv", "delimter": ";"}}, 'did you mean "delimiter"?'),
    ({"parse": {"format": "csv", "encoding": "lattin-1"}}, "latin-1"),
    ({"parse": {"format": "text", "encoding": "zip"}}, "no enc"),
    ({"parse": "fixed"}, "not allowed"), ({"parse": {}}, '"format" is missing'), ({"format": "auto"}, "not allowed"),
    ({"format": {"as": "xml", "root": "a b"}}, "a name as XML has them"),
    ({"parse": {"format": "csv", "columns": ["a", "a"]}}, "twice"),
    ({"normalize": {"fields": {"a": "txt"}}}, 'did you mean "text"?'),
    ({"normalize": {"fields": {"a": {"type": "datetime", "timezone": "Mars/X"}}}}, "no time zone"),
    ({"normalize": {"fields": {"a": {"type": "number", "decimal": ",", "group": ","}}}}, "are the same"),
    ({"normalize": {"fields": {"a": {"fields": {"b": "text"}}}}}, "only an object or a list"),
])
def test_mistakes_in_manifests(written: dict[str, Any], told: str) -> None:
    [problem] = check_steps([written])
    assert told in f"{problem.message} {problem.suggestion}"
