"""`normalize`, and the three steps together in a flow."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arint.flows.state import State
from arint.message import Message
from arint.resources.kinds import Flow
from arint.testing import FlowTest
from plugins.formats.steps.locales import LOCALES
from plugins.formats.steps.normalize import Normalize


def normalized(body: Any, **spec: Any) -> Any:
    import msgspec

    state = State(Message.new(msgspec.json.encode(body)), "f", "start", None)  # type: ignore[arg-type]
    Normalize(msgspec.convert(spec, Normalize.Spec)).apply(state)
    return state.body


def one(value: Any, locale: str | None = None, **field: Any) -> Any:
    found = normalized({"a": value}, fields={"a": field}, **({"locale": locale} if locale else {}))
    return found["a"]


@pytest.mark.parametrize(("value", "field", "wanted"), [
    ("  x ", {}, "x"), ("  x ", {"trim": False}, "  x "), ("e\u0301", {}, "\u00e9"), ("aB", {"case": "upper"}, "AB"),
    (12, {}, "12"), (True, {}, "true"),
    ("1.234,50", {"type": "number", "decimal": ",", "group": "."}, 1234.5), ("12", {"type": "number"}, 12),
    ("1.50", {"type": "decimal"}, "1.50"), ("-7", {"type": "integer"}, -7), ("7-", {"type": "integer"}, -7),
    ("1e3", {"type": "number"}, 1000), (" 1 000 ", {"type": "integer"}, 1000), (".5", {"type": "number"}, 0.5),
    ("ja", {"type": "boolean", "true_is": ["Ja"], "false_is": ["Nein"]}, True), ("0", {"type": "boolean"}, False),
    ("31.05.2024", {"type": "date", "format": "%d.%m.%Y"}, "2024-05-31"),
    ("2024-05-31", {"type": "date"}, "2024-05-31"),
    ("20240531", {"type": "date", "format": ["%d.%m.%Y", "%Y%m%d"]}, "2024-05-31"),
    ("0815", {"type": "time", "format": "%H%M"}, "08:15:00"), ("08:15", {"type": "time"}, "08:15:00"),
    ("2024-05-31 10:00", {"type": "datetime", "timezone": "Europe/Bucharest"}, "2024-05-31T07:00:00Z"),
    ("2024-05-31T10:00+02:00", {"type": "datetime"}, "2024-05-31T08:00:00Z"), (0, {"type": "datetime"},
                                                                                "1970-01-01T00:00:00Z"),
    ("x", {"type": "list"}, ["x"]), (["1"], {"type": "list", "items": "integer"}, [1]),
    ({"b": "1"}, {"type": "object", "fields": {"b": "integer"}}, {"b": 1}),
    ([{"b": "1"}, {"b": "2"}], {"type": "list", "fields": {"b": "integer"}}, [{"b": 1}, {"b": 2}]),
    (None, {"default": 3}, 3), ("", {"default": "x"}, "x"),
])
def test_values(value: Any, field: dict[str, Any], wanted: Any) -> None:
    assert one(value, **field) == wanted


@pytest.mark.parametrize(("locale", "number", "day"), [
    ("de", "1.234,5", "31.05.2024"), ("de-CH", "1\u2019234.5", "31.05.2024"), ("en-US", "1,234.5", "05/31/2024"),
    ("fr", "1\u202f234,5", "31/05/2024"), ("ro", "1.234,5", "31.05.2024"), ("pl", "1 234,5", "31.05.2024"),
    ("en-IN", "1,234.5", "31/05/2024"),
])
def test_locales(locale: str, number: str, day: str) -> None:
    assert one(number, locale, type="number") == 1234.5
    assert one(day, locale, type="date") == "2024-05-31"
    assert one("2024-05-31", locale, type="date") == "2024-05-31"


@settings(max_examples=60)
@given(st.integers(-10**12, 10**12), st.sampled_from(sorted(LOCALES)))
def test_a_number_written_with_a_locales_signs_is_read_again(cents: int, name: str) -> None:
    locale = LOCALES[name]
    written = f"{cents // 100:,}".replace(",", locale.group) + f"{locale.decimal}{cents % 100:02d}"
    if cents >= 0:
        assert one(written, name, type="number") == pytest.approx(cents / 100)


@pytest.mark.parametrize(("value", "field", "told"), [
    ("x", {"type": "number"}, "a: no number"), ("1,5", {"type": "number"}, "no number"),
    ("nan", {"type": "number"}, "no"),
    ("1.5", {"type": "integer"}, "no whole number"), ("1e400", {"type": "number"}, "too large"),
    ("9" * 30, {"type": "integer"}, "64 bits"), ("9" * 5000, {"type": "decimal"}, "no number"),
    ("1.2.3", {"type": "number", "decimal": ",", "group": "."}, "stand elsewhere"),
    ("maybe", {"type": "boolean"}, "neither true nor false"),
    ("31.02.2024", {"type": "date", "format": "%d.%m.%Y"}, "no date"),
    ("soon", {"type": "datetime"}, "no datetime"), (1e300, {"type": "datetime"}, "a: "),
    ("xx", {"max": 1}, "longer than"),
    ("", {"required": True}, "a: missing"), ("x", {"type": "object", "fields": {"b": "text"}}, "a: no object"),
    ([{"b": "x"}], {"type": "list", "fields": {"b": "integer"}}, "a.0.b: no number"), ({}, {}, "a: no text"),
])
def test_what_does_not_fit_is_told_without_the_value(value: Any, field: dict[str, Any], told: str) -> None:
    from arint.errors import RejectedError

    with pytest.raises(RejectedError) as caught:
        one(value, **field)
    assert told in str(caught.value)
    assert not isinstance(value, str) or len(value) < 3 or value not in str(caught.value)


def test_the_rest_of_the_body() -> None:
    body = {"Order": {"No": "7"}, "x": 1}
    assert normalized(body, fields={"id": {"from": "Order.No", "type": "integer"}}) == {"id": 7}
    assert normalized(body, fields={"id": {"from": "Order.No"}}, others="keep") == {"id": "7", "x": 1}
    from arint.errors import RejectedError

    with pytest.raises(RejectedError, match="1 fields are not declared"):
        normalized(body, fields={"id": {"from": "Order.No"}}, others="reject")
    assert normalized([body], fields={"id": {"from": "Order.No"}}) == [{"id": "7"}]


def test_a_flow_that_parses_normalizes_and_writes() -> None:
    flow = Flow(name="orders", steps=[
        {"parse": {"format": "csv", "delimiter": ";", "encoding": "latin-1"}},
        {"normalize": {"locale": "de", "fields": {"id": {"from": "Nr"}, "total": {"from": "Summe", "type": "number"}}}},
        {"format": {"as": "xml", "root": "orders", "item": "order"}},
        {"send": {"to": "connection/out"}},
    ])
    run = FlowTest(flow).run("Nr;Summe;Kunde\n1;1.234,50;Müller\n".encode("latin-1"), content_type="text/csv")
    assert run.failure is None
    [sent] = run.sent_to("connection/out")
    assert sent.message.content_type == "application/xml; charset=utf-8"
    assert sent.message.body.endswith(b"<orders><order><id>1</id><total>1234.5</total></order></orders>")


def test_parse_auto_goes_by_the_content_type() -> None:
    flow = Flow(name="any", steps=[{"parse": "auto"}])
    assert FlowTest(flow).run(b"<a>1</a>", content_type="text/xml").value == {"a": "1"}
    assert FlowTest(flow).run(b"a=1", content_type="application/x-www-form-urlencoded").value == {"a": "1"}
    failure = FlowTest(flow).run(b"?", content_type="image/png").failure
    assert failure is not None
    assert failure.kind == "rejected"
