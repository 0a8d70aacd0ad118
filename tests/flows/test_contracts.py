"""What a flow or service takes and gives, as its steps and annotations tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from arint.flows.contracts import Contract, contract_of, rooted, schema_of
from arint.message import Message
from arint.resources.kinds import Flow
from arint.sdk import Context, Handler

ORDER = {"type": "object", "required": ["id"]}
PRICED = {"type": "number"}


class Order(msgspec.Struct):
    id: str
    parts: list[Order] = []


@dataclass
class Price:
    total: float


def flow(name: str, *steps: dict[str, Any]) -> Flow:
    return Flow(name=name, steps=list(steps))


FLOWS = {one.name: one for one in (
    flow("checked", {"validate": {"schema": ORDER}}, {"call": "service/price"}),
    flow("called", {"call": "service/price"}),
    flow("nested", {"call": "flow/checked"}),
    flow("itself", {"call": "flow/itself"}),
    flow("free", {"log": "hello"}, {"validate": {"schema": ORDER}}),
    flow("anything", {"validate": {"schema": True}}),
)}
SERVICES = {"price": Contract(ORDER | {"title": "Order"}, PRICED)}


@pytest.mark.parametrize(("target", "payload", "result"), [
    ("service/price", SERVICES["price"].payload, PRICED), ("service/unknown", None, None),
    ("flow/checked", ORDER, PRICED), ("flow/called", SERVICES["price"].payload, PRICED),
    ("flow/nested", ORDER, PRICED), ("flow/itself", None, None), ("flow/free", None, None),
    ("flow/anything", None, None), ("flow/unknown", None, None), ("connection/crm", None, None)])
def test_it_is_found_where_a_message_begins_and_ends(target: str, payload: Any, result: Any) -> None:
    assert contract_of(target, FLOWS, SERVICES) == Contract(payload, result)


@pytest.mark.parametrize("annotation", [Any, None, bytes, str, Message, type(None), object, Context])
def test_what_says_nothing_of_a_body_has_no_schema(annotation: Any) -> None:
    assert schema_of(annotation) is None


def test_annotations_become_schemas() -> None:
    def price(order: Order, ctx: Context) -> Price: ...

    def bare(order): ...  # type: ignore[no-untyped-def]

    handler = Handler(price)
    payload, result = schema_of(handler.payload_type), schema_of(handler.result_type)
    assert payload is not None and payload["$ref"] == "#/$defs/Order"
    assert result is not None and result["$defs"]["Price"]["required"] == ["total"]
    assert schema_of(Handler(bare).payload_type) is schema_of(Handler(bare).result_type) is None


def test_a_schema_keeps_its_references_elsewhere() -> None:
    given = {"$ref": "#/$defs/A", "$defs": {"A": {"properties": {"$ref": {"$ref": "#"}, "b": {"$ref": "http://x#/y"}}},
                                            "B": {"$id": "http://b", "$ref": "#/mine"}}}
    assert rooted(given, "#/c/x") == {
        "$ref": "#/c/x/$defs/A", "$defs": {
            "A": {"properties": {"$ref": {"$ref": "#/c/x"}, "b": {"$ref": "http://x#/y"}}},
            "B": {"$id": "http://b", "$ref": "#/mine"}}}
    assert given["$ref"] == "#/$defs/A"
