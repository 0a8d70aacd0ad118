"""Depth is judged rightly, whatever stands in strings, and cheaply."""

from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint.errors import RejectedError
from arint.flows.json_text import DEEPEST, nested_too_deep, parse_json, write_json

brackets = st.text("[]{}\"\\a é", max_size=20)
values = st.recursive(st.none() | st.booleans() | st.integers(-2**53, 2**53) | brackets,
                      lambda inner: st.lists(inner, max_size=5) | st.dictionaries(brackets, inner, max_size=5),
                      max_leaves=60)


@given(values, st.integers(0, DEEPEST + 60), st.booleans())
def test_depth(value, wrapped, objects):
    opening, closing = (b'{"[{":', b"}") if objects else (b'["]",', b"]")
    body = opening * wrapped + msgspec.json.encode(value) + closing * wrapped
    assert nested_too_deep(body) == (wrapped + depth(value) > DEEPEST)


def depth(value):
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth, inner), default=0)
    return 0


@given(values)
def test_what_is_written_is_read(value):
    assert parse_json(write_json(value)) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_rejected(body):
    try:
        parse_json(body)
    except RejectedError as error:
        assert "body" in error.what


@pytest.mark.parametrize("body", [b"[" * 500_000, b'{"a":' * 200_000, b"[[]" * 300_000, b'"[' * 300_000,
                                  b"[" * 400_000 + b"]" * 400_000])
def test_hostile_bodies_are_judged_quickly(body):
    began = time.process_time()
    with pytest.raises(RejectedError):
        parse_json(body)
    assert time.process_time() - began < 5


def test_what_has_no_json_is_rejected():
    for value in (object(), {1: {2}, (1, 2): 3}, {"a": print}):
        with pytest.raises(RejectedError):
            write_json(value)
