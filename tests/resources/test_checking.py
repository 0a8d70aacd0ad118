"""The checker finds every mistake, and finds one exactly where msgspec would refuse."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arint.resources.checking import mistakes
from arint.resources.kinds import Flow, Secret, Service
from plugins.http.specs import HttpChannel, HttpConnection, HttpOptions
from plugins.sql.specs import SqlConnection, SqlOptions

STRUCTS = [Service, Flow, Secret, HttpChannel, HttpConnection, HttpOptions, SqlConnection, SqlOptions]
GOOD: dict[type[msgspec.Struct], dict[str, Any]] = {
    Service: {"name": "x", "source": "x.py:x"}, Flow: {"name": "x", "steps": [{}]}, Secret: {"name": "x"},
    HttpChannel: {"path": "/x"}, HttpConnection: {"url": "http://x"}, SqlConnection: {"url": "sqlite:///x"},
    SqlOptions: {"statement": "select 1"}, HttpOptions: {},
}
leaves = st.sampled_from([None, True, 0, 1, -1, 1.5, "", "x", "1s", "1MiB", "/x", "http://x", "POST", "node",
                          {"secret": "x"}])
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
    st.sampled_from(["secret", "api_key", "basic", "user", "password", "memory", "attempts", "cpu", "a b", "body"]),
    inner, max_size=3), max_leaves=4)


@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from(STRUCTS))
def test_a_mistake_is_found_if_and_only_if_msgspec_refuses(data: st.DataObject, struct: type[msgspec.Struct]) -> None:
    keys = st.sampled_from([*struct.__struct_encode_fields__, "unknown"])
    written = GOOD[struct] | data.draw(st.dictionaries(keys, values, max_size=3))
    try:
        msgspec.convert(written, struct)
    except msgspec.ValidationError:
        assert mistakes(written, struct)
    else:
        assert not mistakes(written, struct)


def paths(value: Any, expected: Any) -> list[tuple[Any, ...]]:
    return [mistake.path for mistake in mistakes(value, expected)]


def test_all_of_them_in_the_order_written() -> None:
    written = {"path": "x", "methods": ["TRACE", "POST", 1], "auth": {"api_key": "k", "basic": {"user": 1}},
               "limit": {}}
    assert paths(written, HttpChannel) == [
        ("path",), ("methods", 0), ("methods", 2), ("auth", "api_key"), ("auth", "basic", "user"), ("auth", "basic"),
        ("limit",)]


@pytest.mark.parametrize(("value", "expected", "message", "suggestion"), [
    ("x", int, "must be a whole number, not text", ""), (1, str, "must be text, not a number", "put it in quotes"),
    (None, str, "must be text, not empty", ""), ([], dict[str, str], "must be a mapping (key: value), not a list", ""),
    ("x", list[str], "must be a list, not text", ""), ("yes", bool, "must be true or false, not text", ""),
])
def test_messages_speak_to_the_writer(value: Any, expected: Any, message: str, suggestion: str) -> None:
    (mistake,) = mistakes(value, expected)
    assert (mistake.message, mistake.suggestion) == (message, suggestion)
