from __future__ import annotations

import pytest

from arint.availability import observed
from arint.availability.configuration import Configuration
from arint.availability.desired import singletons, wanted
from arint.availability.model import Wanted
from arint.errors import NotFoundError
from arint.plugins import Transport
from arint.registry.records import Alive, Assignment, NodeRecord, Registration
from arint.resources.canonical import canonical
from arint.resources.kinds import Channel, Connection, Flow, Placement, Resource, Secret, Service, Update, key_of
from arint.resources.versions import version_of
from arint.runtime.control import BusSettings
from nodeagent.orders import Surroundings, Task, callers, needed_secrets, orders_for

AROUND = Surroundings(node="n1", home="/h", bus=BusSettings(("tls://x",), "a", "b", "c"), host="127.0.0.1", port=8080,
                      variables={"ARINT_DATA": "/h/data"})


def configuration(*resources: Resource) -> Configuration:
    by_key = {key_of(one): one for one in resources}
    return Configuration(7, by_key, {key: f"r-{key}" for key in by_key})


PRICE = Service(name="price", source="price.py:price", code="c0de", secrets=["own"])
WHOLE = configuration(
    Secret(name="own"), Secret(name="key"), PRICE, Service(name="approve", source="a.py:a"),
    Flow(name="inner", steps=[{"call": "service/price"}]),
    Flow(name="outer", steps=[{"when": {"if": "true", "then": [{"call": "flow/inner"}]}}]),
    Flow(name="sends", steps=[{"send": {"to": "flow/outer"}}]),
    Flow(name="words", steps=[{"map": '{"call": "service/price"}'}]),
    Connection(name="db", transport="sql", spec={"url": "sqlite:///${ARINT_DATA}/x.db"}),
    Channel(name="in", to="flow/outer", transport="http", spec={"auth": {"api_key": {"secret": "key"}}}),
    Channel(name="direct", to="service/approve", transport="http", spec={}))


def test_a_service_gets_the_flows_that_call_it_also_through_others() -> None:
    assert callers("price", WHOLE) == {"inner", "outer"}
    values = {"own": b"1", "key": b"2"}
    orders = orders_for(Task("price-1", "price", PRICE), WHOLE, AROUND, code="/code", secrets=values)
    assert [flow.name for flow in orders.flows] == ["inner", "outer"]
    assert orders.secrets == {"own": b"1"}
    assert (orders.role, orders.code, orders.change_set, orders.service) == ("service", "/code", 7, PRICE)


def test_a_service_that_is_asked_gets_the_flow_too() -> None:
    asks = Flow(name="asks", steps=[{"enrich": {"from": "service/price", "into": "vars.price"}}])
    sends = Flow(name="sends", steps=[{"enrich": {"from": "connection/db", "into": "vars.x", "statement": "x"}}])
    assert callers("price", configuration(PRICE, asks, sends)) == {"asks"}


def test_a_source_gets_its_channels_and_where_they_lead() -> None:
    orders = orders_for(Task("http-1", "system/http"), WHOLE, AROUND, secrets={"key": b"2"})
    assert [channel.name for channel in orders.channels] == ["direct", "in"]
    assert [flow.name for flow in orders.flows] == ["inner", "outer"]
    assert [service.name for service in orders.services] == ["approve"]
    assert (orders.role, orders.source, orders.port) == ("source", "http", 8080)


def test_the_runner_gets_everything_as_it_is_written() -> None:
    orders = orders_for(Task("runner-1", "system/runner"), WHOLE, AROUND)
    assert len(orders.flows) == 4
    assert orders.connections[0].spec == {"url": "sqlite:///${ARINT_DATA}/x.db"}
    assert orders.variables == {"ARINT_DATA": "/h/data"}
    assert orders.secrets == {}


def test_a_source_that_takes_from_a_connection_gets_it_with_its_secrets() -> None:
    declared = configuration(
        Secret(name="pw"), Secret(name="other"), Flow(name="f", steps=[{"log": "x"}]),
        Connection(name="shop", transport="sql", spec={"url": "postgresql://u@h/d", "password": {"secret": "pw"}}),
        Connection(name="else", transport="sql", spec={"url": "mysql://u@h/d", "password": {"secret": "other"}}),
        Channel(name="rows", to="flow/f", transport="sql", spec={"from": "connection/shop", "query": "select 1"}))
    orders = orders_for(Task("sql-1", "system/sql"), declared, AROUND, secrets={"pw": b"1", "other": b"2"})
    assert [connection.name for connection in orders.connections] == ["shop"]
    assert orders.secrets == {"pw": b"1"}


def test_a_secret_without_a_value_is_named() -> None:
    assert needed_secrets(Task("http-1", "system/http"), WHOLE) == {"key"}
    with pytest.raises(NotFoundError, match="http-1: the secret key has no value"):
        orders_for(Task("http-1", "system/http"), WHOLE, AROUND)
    with pytest.raises(NotFoundError, match="service gone is not declared"):
        orders_for(Task("gone-1", "gone"), WHOLE, AROUND)


def test_a_source_that_polls_runs_once_in_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    polling = Transport(name="poll", mode="singleton")
    monkeypatch.setattr("arint.availability.desired.transports", lambda: {"poll": polling})
    taken = Channel(name="in", to="flow/orders", transport="poll", spec={})
    single = Service(name="one", source="a.py:one", mode="singleton")
    declared = configuration(taken, single)
    found = {one.service: one for one in wanted(declared, "1.0")}
    assert (found["system/poll"].mode, found["system/poll"].surge) == ("singleton", False)
    assert singletons(declared) == {"system/poll", "one"}


def test_what_is_wanted_and_what_makes_a_version() -> None:
    found = {one.service: one for one in wanted(WHOLE, "1.0")}
    assert set(found) == {"system/runner", "system/admin", "system/http", "price", "approve"}
    assert found["system/runner"] == Wanted(service="system/runner", base="runner", version="1.0", mode="every-node")
    assert not found["system/http"].surge
    assert found["price"].revision == "r-Service/price"
    assert [one.service for one in wanted(Configuration(), "1.0")] == ["system/runner", "system/admin"]
    same = Service(name="price", source="price.py:price", code="c0de", secrets=["own"], replicas=9,
                   placement=Placement(labels={"a": "b"}), update=Update(max_parallel=3), description="x")
    assert version_of(same) == version_of(PRICE)
    assert version_of(Service(name="price", source="price.py:price", code="ffff", secrets=["own"])) != version_of(PRICE)


def test_what_has_not_changed_is_not_read_again() -> None:
    first = Configuration().following(1, {"Service/price": "a"}, {"Service/price": canonical(PRICE)})
    second = first.following(2, {"Service/price": "a"}, {})
    assert second.services["price"] is first.services["price"]
    assert second.number == 2


def test_since_counts_on_the_watchers_clock_from_the_first_sight_of_a_state() -> None:
    watch = observed.Watch()
    assigned = [Assignment(instance="a-1", service="a", version="v", node="n1")]

    def seen(state: str, now: float) -> tuple[str, float]:
        found = watch.instances(assigned, [Registration(instance="a-1", service="a", version="v", node="n1",
                                                        state=state)], now)  # type: ignore[arg-type]
        return found[0].state, found[0].since

    assert (watch.instances(assigned, [], 1.0)[0].state, seen("starting", 2.0)) == ("starting", ("starting", 1.0))
    assert seen("ready", 3.0) == ("ready", 3.0)
    assert seen("ready", 9.0) == ("ready", 3.0)


def test_what_runs_without_an_assignment_drains_and_another_versions_word_does_not_count() -> None:
    old = Registration(instance="a-1", service="a", version="old", node="n1", state="ready")
    stray = Registration(instance="a-2", service="a", version="v", node="n1", state="ready")
    found = observed.Watch().instances([Assignment(instance="a-1", service="a", version="v", node="n1")],
                                       [old, stray], 0.0)
    assert [(one.name, one.state) for one in found] == [("a-1", "starting"), ("a-2", "draining")]
    nodes = observed.nodes([NodeRecord(name="n1"), NodeRecord(name="n2", cordoned=True)], [Alive(node="n1")])
    assert [(one.name, one.alive, one.cordoned) for one in nodes] == [("n1", True, False), ("n2", False, True)]


def test_in_a_hasty_change_set_new_versions_take_over_at_once_and_all_together() -> None:
    service = Service(name="s", source="s.py:s", replicas=3, update=Update(healthy_after="5s"))
    usual = next(one for one in wanted(configuration(service), "1") if one.service == "s")
    assert (usual.healthy_after, usual.max_parallel) == (5.0, 1)
    hasty = Configuration(8, {"Service/s": service}, {"Service/s": "r-Service/s"}, hasty=True)
    [found] = [one for one in wanted(hasty, "1") if one.service == "s"]
    assert (found.healthy_after, found.max_parallel, found.version) == (0.0, 3, usual.version)
