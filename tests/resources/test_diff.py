"""Diffs: complete, minimal, and with nothing secret in them."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from arint.resources.canonical import canonical
from arint.resources.diff import MASK, FieldChange, diff, masked
from arint.resources.kinds import Connection, Flow, Secret, Service, key_of
from tests.resources.strategies import resources


def one(before: object, after: object) -> tuple[FieldChange, ...]:
    (change,) = diff({"K/x": canonical(before)}, {"K/x": canonical(after)})
    assert change.action == "changed"
    return change.fields


def test_added_changed_removed_in_the_order_of_kinds() -> None:
    price, other = Service(name="price", source="p.py:p"), Service(name="price", source="p.py:p", replicas=3)
    before = {"Service/price": canonical(price), "Flow/gone": canonical(Flow(name="gone", steps=[{"log": "x"}]))}
    after = {"Service/price": canonical(other), "Secret/new": canonical(Secret(name="new", digest="1"))}
    changes = diff(before, after)
    assert [(change.action, change.kind, change.name) for change in changes] == [
        ("added", "Secret", "new"), ("changed", "Service", "price"), ("removed", "Flow", "gone")]
    assert changes[1].fields == (FieldChange("replicas", after=3),)


def test_the_smallest_part_that_differs_is_named() -> None:
    before = Flow(name="f", steps=[{"log": "a"}, {"when": {"if": "x", "then": [{"call": "service/a"}]}}])
    after = Flow(name="f", steps=[{"log": "a"}, {"when": {"if": "x", "then": [{"call": "service/b"}]}}, {"log": "c"}])
    assert one(before, after) == (FieldChange("steps[1].when.then[0].call", "service/a", "service/b"),
                                  FieldChange("steps[2]", after={"log": "c"}))


def test_another_type_is_a_change_and_so_is_another_order() -> None:
    before = Connection(name="x", transport="sql", spec={"a": 1, "b": 2})
    assert one(before, msgspec.structs.replace(before, spec={"a": True, "b": 2})) == (FieldChange("sql.a", 1, True),)
    assert one(before, msgspec.structs.replace(before, spec={"b": 2, "a": 1}))[0].note == "the order of keys"


def test_values_that_look_secret_are_hidden() -> None:
    before = Service(name="s", source="p.py:p", config={"db_password": "old", "apiKey": "k", "url": "a://u:geheim@h"})
    after = Service(name="s", source="p.py:p", config={"db_password": "new", "apiKey": "k", "url": "a://u:anders@h"})
    fields = one(before, after)
    assert fields == (FieldChange("config.db_password", MASK, MASK), FieldChange("config.url", f"a://u:{MASK}@h", f"a://u:{MASK}@h"))
    (added,) = diff({}, {"Service/s": canonical(before)})
    assert "old" not in repr(added) and "geheim" not in repr(added)


def test_names_of_secrets_stay() -> None:
    assert masked({"password": {"secret": "orders-key"}}) == {"password": {"secret": "orders-key"}}
    assert masked(["orders-key"], ("secrets",)) == ["orders-key"]


def test_a_secrets_digest_is_not_shown() -> None:
    (field,) = one(Secret(name="x", digest="aaa"), Secret(name="x", digest="bbb"))
    assert (field.path, field.note) == ("value", "another value")
    assert "aaa" not in repr(field)


@settings(max_examples=100)
@given(st.lists(resources, max_size=4), st.lists(resources, max_size=4))
def test_a_diff_is_empty_if_and_only_if_nothing_differs(before: list[object], after: list[object]) -> None:
    old = {key_of(resource): canonical(resource) for resource in before}
    new = {key_of(resource): canonical(resource) for resource in after}
    changes = diff(old, new)
    assert {f"{change.kind}/{change.name}" for change in changes} == {
        key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    assert all(change.fields for change in changes if change.action == "changed")
    msgspec.json.encode(changes)
