"""Placement: examples one by one."""

from __future__ import annotations

import time
from collections import Counter

import msgspec

from arint.availability.model import Instance, Node, Rollout, Wanted
from arint.availability.placement import plan
from tests.availability.world import World, nodes


def test_starts_what_is_wanted_at_once_and_spreads_by_load() -> None:
    changes = plan([Wanted(service="price", version="v1", replicas=4)], {}, nodes(2), [], 0.0)
    assert [(start.name, start.node) for start in changes.start] == [
        ("price-1", "n1"), ("price-2", "n2"), ("price-3", "n1"), ("price-4", "n2")]
    assert not changes.stop


def test_names_avoid_those_of_another_service_with_the_same_base() -> None:
    desired = [Wanted(service="system/runner", base="runner", version="s", mode="every-node"),
               Wanted(service="runner", version="v1")]
    names = [start.name for start in plan(desired, {}, nodes(1), [], 0.0).start]
    assert sorted(names) == ["runner-1", "runner-2"]


def test_a_new_version_is_ready_before_the_old_stops() -> None:
    world = World(nodes(1))
    old = Wanted(service="price", version="v1", replicas=3)
    world.settle(old)
    assert world.rollouts["price"].stable == "v1"
    world.least_ready.clear()
    world.settle(msgspec.structs.replace(old, version="v2"))
    assert world.versions("price") == {"v2"}
    assert world.least_ready["price"] >= 3
    assert world.most["price"] == 4
    assert world.rollouts["price"] == Rollout(stable="v2")


def test_healthy_after_is_waited_for() -> None:
    rollouts = {"a": Rollout(stable="v1")}
    wanted = Wanted(service="a", version="v2", healthy_after=5.0)
    both = [Instance(service="a", name="a-1", version="v1", node="n1", state="ready"),
            Instance(service="a", name="a-2", version="v2", node="n1", state="ready", since=10.0)]
    early = plan([wanted], rollouts, nodes(1), both, 12.0)
    assert early.none
    assert early.look_again == 15.0
    late = plan([wanted], rollouts, nodes(1), both, 15.0)
    assert [stop.name for stop in late.stop] == ["a-1"]


def test_a_failed_new_version_never_takes_over() -> None:
    world = World(nodes(2), broken={"v2"})
    old = Wanted(service="price", version="v1", replicas=2)
    world.settle(old)
    world.least_ready.clear()
    new = msgspec.structs.replace(old, version="v2")
    world.settle(new)
    assert world.versions("price") == {"v1"}
    assert world.least_ready["price"] == 2
    assert world.rollouts["price"] == Rollout(stable="v1", failed="v2", error="no", instance="price-3")
    world.settle(msgspec.structs.replace(old, version="v3"))
    assert world.rollouts["price"] == Rollout(stable="v3")
    world.broken.clear()
    world.settle(new)
    assert world.versions("price") == {"v2"}


def test_without_auto_revert_the_old_version_stays_beside_the_failed_one() -> None:
    world = World(nodes(1), broken={"v2"})
    old = Wanted(service="price", version="v1", replicas=2, auto_revert=False)
    world.settle(old)
    world.settle(msgspec.structs.replace(old, version="v2"))
    assert len(world.ready("price")) == 2
    assert world.versions("price") == {"v1", "v2"}


def test_one_that_hangs_at_its_start_counts_as_failed() -> None:
    rollouts = {"a": Rollout(stable="v1")}
    both = [Instance(service="a", name="a-1", version="v1", node="n1", state="ready"),
            Instance(service="a", name="a-2", version="v2", node="n1", state="starting", since=10.0)]
    wanted = Wanted(service="a", version="v2", start_within=60.0)
    before = plan([wanted], rollouts, nodes(1), both, 69.0)
    assert before.none
    assert before.look_again == 70.0
    after = plan([wanted], rollouts, nodes(1), both, 70.0)
    assert [stop.name for stop in after.stop] == ["a-2"]
    failed = after.rollouts["a"]
    assert failed is not None
    assert failed.failed == "v2"


def test_a_singleton_stops_before_it_starts() -> None:
    world = World(nodes(3))
    one = Wanted(service="clock", version="v1", mode="singleton", replicas=5)
    world.settle(one)
    new = msgspec.structs.replace(one, version="v2")
    for _ in range(10):
        changes = plan([new], world.rollouts, world.nodes, world.instances.values(), world.now)
        assert not (changes.start and world.instances)
        world.apply(changes)
        assert len(world.instances) <= 1
        world.advance()
    assert world.versions("clock") == {"v2"}


def test_what_ran_on_a_dead_node_starts_elsewhere_and_the_rest_stays() -> None:
    world = World(nodes(2))
    wanted = Wanted(service="price", version="v1", replicas=4)
    world.settle(wanted)
    stayed = {one.name for one in world.instances.values() if one.node == "n2"}
    world.nodes[0] = msgspec.structs.replace(world.nodes[0], alive=False)
    changes = plan([wanted], world.rollouts, world.nodes, world.instances.values(), world.now)
    assert {stop.node for stop in changes.stop} == {"n1"}
    assert {start.node for start in changes.start} == {"n2"}
    world.settle(wanted)
    assert stayed < world.instances.keys()
    assert len(world.ready("price")) == 4


def test_every_node_has_one_and_a_dead_node_none() -> None:
    world = World(nodes(3))
    wanted = Wanted(service="system/runner", base="runner", version="1", mode="every-node", replicas=1)
    world.settle(wanted)
    assert Counter(one.node for one in world.instances.values()) == {"n1": 1, "n2": 1, "n3": 1}
    world.nodes = world.nodes[:2]
    world.settle(wanted)
    assert {one.node for one in world.instances.values()} == {"n1", "n2"}


def test_every_node_is_updated_a_few_at_a_time() -> None:
    world = World(nodes(4))
    wanted = Wanted(service="system/http", base="http", version="1", mode="every-node", surge=False)
    world.settle(wanted)
    world.least_ready.clear()
    world.settle(msgspec.structs.replace(wanted, version="2"))
    assert world.versions("system/http") == {"2"}
    assert world.least_ready["system/http"] == 3
    assert world.most["system/http"] == 4


def test_a_label_that_goes_moves_the_instance() -> None:
    world = World([Node(name="n1", labels={"zone": "a"}), Node(name="n2")])
    wanted = Wanted(service="price", version="v1", labels={"zone": "a"})
    world.settle(wanted)
    assert [one.node for one in world.instances.values()] == ["n1"]
    world.nodes = [Node(name="n1"), Node(name="n2", labels={"zone": "a"})]
    world.settle(wanted)
    assert [one.node for one in world.instances.values()] == ["n2"]


def test_a_cordoned_node_keeps_its_own_and_gets_nothing_new() -> None:
    world = World(nodes(2))
    world.settle(Wanted(service="a", version="v1", replicas=2))
    world.nodes[0] = msgspec.structs.replace(world.nodes[0], cordoned=True)
    world.settle(Wanted(service="a", version="v1", replicas=4))
    assert Counter(one.node for one in world.instances.values()) == {"n1": 1, "n2": 3}


def test_no_longer_declared_is_stopped_and_forgotten() -> None:
    world = World(nodes(1))
    world.settle(Wanted(service="a", version="v1", replicas=2))
    world.settle()
    assert not world.instances
    assert not world.rollouts


def test_scaling_down_takes_the_failed_first_then_from_the_crowded_node() -> None:
    instances = [Instance(service="a", name=f"a-{number}", version="v1", node=node, state=state)
                 for number, node, state in [(1, "n1", "failed"), (2, "n1", "ready"), (3, "n2", "ready"),
                                             (4, "n2", "ready"), (5, "n2", "ready")]]
    changes = plan([Wanted(service="a", version="v1", replicas=2)], {}, nodes(2), instances, 1.0)
    assert {stop.name for stop in changes.stop} == {"a-1", "a-5", "a-4"}


def test_ten_thousand_instances_on_two_hundred_nodes_take_less_than_a_second() -> None:
    desired = [Wanted(service=f"s{number}", version="v1", replicas=100, spread="node") for number in range(100)]
    machines = nodes(200)
    begun = time.process_time()
    changes = plan(desired, {}, machines, [], 0.0)
    first = time.process_time() - begun
    assert len(changes.start) == 10_000
    assert set(Counter(start.node for start in changes.start).values()) == {50}
    instances = [Instance(service=one.service, name=one.name, version="v1", node=one.node, state="ready")
                 for one in changes.start]
    machines[7] = msgspec.structs.replace(machines[7], alive=False)
    begun = time.process_time()
    failover = plan(desired, {}, machines, instances, 10.0)
    second = time.process_time() - begun
    assert len(failover.start) == len(failover.stop) == 50
    assert max(first, second) < 1.0
