"""The words that select resources."""

from __future__ import annotations

import pytest

from arint.errors import UsageError
from arint.operations.inventory import keys_of, selectors, spoken


@pytest.mark.parametrize(("words", "selected"), [
    ((), []),
    (("all",), [("", "")]),
    (("services",), [("Service", "")]),
    (("service/price",), [("Service", "price")]),
    (("service", "price"), [("Service", "price")]),
    (("channel", "orders-in", "numbers"), [("Channel", "orders-in"), ("Channel", "numbers")]),
    (("services", "flows"), [("Service", ""), ("Flow", "")]),
    (("services,flows",), [("Service", ""), ("Flow", "")]),
    (("service", "price", "flow", "orders"), [("Service", "price"), ("Flow", "orders")]),
    (("service/price", "flow", "orders"), [("Service", "price"), ("Flow", "orders")]),
])
def test_kinds_and_names_in_each_form(words: tuple[str, ...], selected: list[tuple[str, str]]) -> None:
    assert selectors(words) == selected


def test_a_near_kind_is_named() -> None:
    with pytest.raises(UsageError, match='did you mean "channel"'):
        selectors(["chanel"])


def test_single_resources_need_names() -> None:
    assert keys_of(["service", "price"]) == ["Service/price"]
    assert spoken("Service/price") == "service/price"
    with pytest.raises(UsageError, match="names no single resource"):
        keys_of(["services"])
