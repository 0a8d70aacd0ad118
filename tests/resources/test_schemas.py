"""JSON Schemas: what they accept is what is accepted."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import msgspec
import pytest

from arint.errors import NotFoundError
from arint.resources.kinds import KINDS
from arint.resources.schemas import schema_of, schema_of_all

GOOD: list[dict[str, Any]] = [
    {"kind": "Secret", "name": "key", "from": {"env": "KEY"}},
    {"kind": "Connection", "name": "db", "sql": {"url": "sqlite:///x.db"}},
    {"kind": "Service", "name": "price", "source": "price.py:price", "replicas": 2, "update": {"healthy_after": "2s"}},
    {"kind": "Channel", "name": "in", "http": {"path": "/x", "auth": {"api_key": {"secret": "key"}}}, "to": "flow/f"},
    {"kind": "Flow", "name": "f", "steps": [{"call": "service/price", "name": "one"}, {"map": "a"},
                                            {"try": [{"log": "x"}], "catch": [{"log": "y"}]}]},
]
BAD: list[dict[str, Any]] = [
    {"kind": "Secret", "name": "key", "source": {"env": "KEY"}},
    {"kind": "Connection", "name": "db", "transport": "sql", "spec": {"url": "sqlite:///x.db"}},
    {"kind": "Connection", "name": "db", "sql": {"url": "sqlite:///x.db"}, "http": {"url": "http://x"}},
    {"kind": "Connection", "name": "db"},
    {"kind": "Service", "name": "Price", "source": "price.py:price"},
    {"kind": "Service", "name": "price", "source": "price.py:price", "replicass": 2},
    {"kind": "Channel", "name": "in", "http": {"paths": "/x"}, "to": "flow/f"},
    {"kind": "Flow", "name": "f", "steps": []},
    {"kind": "Flow", "name": "f", "steps": [{"cal": "service/price"}]},
]


@pytest.mark.parametrize("document", GOOD, ids=lambda document: document["kind"])
def test_what_is_right_is_valid(document: dict[str, Any]) -> None:
    jsonschema_rs.validator_for(schema_of(document["kind"])).validate(document)
    jsonschema_rs.validator_for(schema_of_all()).validate(document)


@pytest.mark.parametrize("document", BAD, ids=str)
def test_what_is_wrong_is_not(document: dict[str, Any]) -> None:
    assert not jsonschema_rs.validator_for(schema_of(document["kind"])).is_valid(document)
    assert not jsonschema_rs.validator_for(schema_of_all()).is_valid(document)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_one_that_is_complete_in_itself(kind: str) -> None:
    schema = schema_of(kind.lower())
    jsonschema_rs.meta.validate(schema)
    assert list(schema["properties"])[:2] == ["kind", "name"]
    named = set(msgspec.json.encode(schema).decode().split('"$ref":"#/$defs/')[1:])
    assert {reference.partition('"')[0] for reference in named} <= set(schema["$defs"])


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(NotFoundError, match='did you mean "Service"'):
        schema_of("servise")
