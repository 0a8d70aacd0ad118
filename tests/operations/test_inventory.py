"""The words that select resources."""

from __future__ import annotations

import pytest

from arint.errors import UsageError
from arint.home import NodeConfig, Ports
from arint.operations.agent import AgentStatus, InstanceStatus
from arint.operations.inventory import keys_of, selectors, spoken, view
from arint.resources.kinds import Service
from arint.resources.versions import version_of


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


NEW = Service(name="late", source="late.py:well", code="new")


def instance(number: int, version: str, state: str, error: str) -> InstanceStatus:
    return InstanceStatus(instance=f"late-{number}", service="late", role="service", node="n1", state=state,
                          version=version, error=error)


@pytest.mark.parametrize(("instances", "told"), [
    ([("old", "failed", "before"), (version_of(NEW), "failed", "now")], "now"),
    ([("old", "draining", "before"), (version_of(NEW), "starting", "")], None),
    ([("old", "failed", "before")], None),
    ([("old", "ready", "it was killed"), (version_of(NEW), "starting", "")], "it was killed"),
    ([("old", "ready", "it was killed"), (version_of(NEW), "failed", "now")], "now"),
])
def test_the_error_that_is_told_is_that_of_what_was_declared(instances: list[tuple[str, str, str]],
                                                            told: str | None) -> None:
    config = NodeConfig(version="1", cluster="c", node="n1", created=0.0, ports=Ports())
    status = AgentStatus(node="n1", cluster="c", pid=1, version="1", ready=True, change_set=1, started=0.0, memory=0,
                         engines=(), instances=tuple(instance(number, *one)
                                                     for number, one in enumerate(instances, 1)))
    assert view(NEW, config, status).status.get("error") == told
