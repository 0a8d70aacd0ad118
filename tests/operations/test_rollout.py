"""What is waited for, decided from the agent's status alone."""

from __future__ import annotations

import pytest

from arint.errors import ArintError
from arint.operations.agent import AgentStatus, EngineStatus, InstanceStatus
from arint.operations.logs import chosen
from arint.operations.rollout import late_instances, missing_services, refuse_failed, wanted_instances
from arint.operations.standing import NodeStanding, Standing
from arint.resources.kinds import Channel, Service


def status(*instances: InstanceStatus) -> AgentStatus:
    return AgentStatus(node="n1", instances=instances)


def test_all_that_the_resources_ask_for_is_waited_for() -> None:
    resources = {"Service/price": Service(name="price", source="p.py:f", replicas=2),
                 "Channel/in": Channel(name="in", to="service/price", transport="http", spec={})}
    wanted = wanted_instances(resources)
    assert wanted == {"system/runner": 1, "system/http": 1, "price": 2}
    there = status(InstanceStatus("price-1", "price", state="ready"), InstanceStatus("runner-1", "system/runner"),
                   InstanceStatus("price-0", "price", state="draining"))
    assert missing_services(there, wanted) == ["system/http", "price"]


def test_an_instance_is_late_until_it_is_ready_for_the_change_set() -> None:
    found = status(InstanceStatus("a-1", "a", state="ready", change_set=4),
                   InstanceStatus("b-1", "b", state="ready", change_set=3),
                   InstanceStatus("c-1", "c", state="starting", change_set=4),
                   InstanceStatus("d-1", "d", state="draining", change_set=1))
    assert late_instances(found, 4) == ["b-1", "c-1"]


def test_a_failed_instance_tells_why_in_its_own_words() -> None:
    failed = InstanceStatus("a-1", "a", state="failed", change_set=4, error="Traceback …\nNameError: x")
    with pytest.raises(ArintError, match="NameError: x"):
        refuse_failed(status(failed), 4, {"a"}, {})
    refuse_failed(status(failed), 5, {"a"}, {})
    refuse_failed(status(failed), 4, {"b"}, {})  # its service was deleted
    refuse_failed(status(failed), 4, {"a"}, {"a": "another version"})  # what failed is an earlier one


def test_logs_are_of_an_instance_a_service_an_engine_or_all() -> None:
    instances = tuple(InstanceStatus(name, "price", node=node) for name, node in (("price-1", "a"), ("price-2", "b")))
    engines = (EngineStatus("nats", node="a"), EngineStatus("nats", node="b"))
    nodes = tuple(NodeStanding(name, state) for name, state in (("a", "ready"), ("b", "not ready"), ("c", "away")))
    standing = Standing("c", "a", True, nodes=nodes, instances=instances, engines=engines)

    def names(*asked: str, node: str = "") -> list[str]:
        return [one.name for one in chosen(standing, asked, node)]

    assert names() == ["price-1", "price-2"]
    assert names("price", "agent") == ["price-1", "price-2", "agent@a", "agent@b"]
    assert names("price", "nats", node="b") == ["price-2", "nats"]
    assert names("nats@b", "price-1") == ["nats@b", "price-1"]
    with pytest.raises(ArintError, match="price"):
        names("prise")
    with pytest.raises(ArintError, match="'c'"):
        names(node="c")
