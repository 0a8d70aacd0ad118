"""Placement: examples one by one, and properties over whatever Hypothesis finds."""

from __future__ import annotations

import time
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arint.availability.model import Changes, Instance, Node, Rollout, Wanted
from arint.availability.placement import permitted, plan


class World:
    """Does what a plan says, at once; versions in `broken` fail at their start."""

    def __init__(self, nodes: list[Node], broken: set[str] | None = None) -> None:
        self.nodes = nodes
        self.broken = broken or set()
        self.instances: dict[str, Instance] = {}
        self.rollouts: dict[str, Rollout] = {}
        self.now = 0.0
        self.most: Counter[str] = Counter()
        self.least_ready: dict[str, int] = {}

    def ready(self, service: str) -> list[Instance]:
        return [one for one in self.instances.values() if one.service == service and one.state == "ready"]

    def versions(self, service: str) -> set[str]:
        return {one.version for one in self.instances.values() if one.service == service}

    def apply(self, changes: Changes) -> None:
        for stop in changes.stop:
            instance = self.instances[stop.name]
            alive = any(node.name == stop.node and node.alive for node in self.nodes)
            if alive and instance.state == "ready":
                self.instances[stop.name] = msgspec.structs.replace(instance, state="draining")
            else:
                del self.instances[stop.name]
        for start in changes.start:
            assert start.name not in self.instances
            self.instances[start.name] = Instance(service=start.service, name=start.name, version=start.version,
                                                  node=start.node, since=self.now)
        for service, rollout in changes.rollouts.items():
            if rollout is None:
                del self.rollouts[service]
            else:
                self.rollouts[service] = rollout

    def advance(self) -> None:
        self.now += 0.6
        for name, instance in list(self.instances.items()):
            if instance.state == "starting":
                state = "failed" if instance.version in self.broken else "ready"
                self.instances[name] = msgspec.structs.replace(instance, state=state, since=self.now, error="no")
            elif instance.state == "draining":
                del self.instances[name]

    def settle(self, *desired: Wanted, rounds: int = 400) -> None:
        for _ in range(rounds):
            changes = plan(desired, self.rollouts, self.nodes, self.instances.values(), self.now)
            transient = any(one.state in ("starting", "draining") for one in self.instances.values())
            if changes.none and not transient and changes.look_again is None:
                return
            self.apply(changes)
            self.advance()
            for wanted in desired:
                mine = [one for one in self.instances.values() if one.service == wanted.service]
                working = [one for one in mine if one.state != "draining"]
                self.most[wanted.service] = max(self.most[wanted.service], len(working))
                ready = len(self.ready(wanted.service))
                self.least_ready[wanted.service] = min(self.least_ready.get(wanted.service, ready), ready)
        pytest.fail(f"does not converge: {changes}")


def nodes(count: int, **labels: str) -> list[Node]:
    return [Node(name=f"n{number}", labels=labels) for number in range(1, count + 1)]


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
    desired = [Wanted(service=f"s{number}", version="v1", replicas=100, spread=True) for number in range(100)]
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


LABELS = st.sampled_from([{}, {"zone": "a"}, {"zone": "b"}])
NODES = st.lists(st.builds(Node, name=st.sampled_from(["n1", "n2", "n3", "n4"]), labels=LABELS, alive=st.booleans(),
                           cordoned=st.booleans()), max_size=4, unique_by=lambda node: node.name)
WANTED = st.lists(st.builds(
    Wanted, service=st.sampled_from(["a", "b"]), version=st.sampled_from(["v1", "v2"]), replicas=st.integers(0, 5),
    mode=st.sampled_from(["replicated", "singleton", "every-node"]), labels=LABELS, spread=st.booleans(),
    max_parallel=st.integers(1, 3), healthy_after=st.sampled_from([0.0, 1.0]), auto_revert=st.booleans(),
    surge=st.booleans()), max_size=2, unique_by=lambda wanted: wanted.service)
INSTANCES = st.lists(st.builds(
    Instance, service=st.sampled_from(["a", "b", "gone"]), name=st.integers(1, 9).map(str),
    version=st.sampled_from(["v1", "v2", "v0"]), node=st.sampled_from(["n1", "n2", "n3", "n4"]),
    state=st.sampled_from(["starting", "ready", "failed", "draining"]), since=st.sampled_from([0.0, 9.5])),
    max_size=8).map(lambda found: list({name.name: name for name in (
        msgspec.structs.replace(one, name=f"{one.service}-{one.name}") for one in found)}.values()))
ROLLOUTS = st.dictionaries(st.sampled_from(["a", "b", "gone"]), st.builds(
    Rollout, stable=st.sampled_from(["", "v1", "v0"]), failed=st.sampled_from(["", "v2"])))


def limit(wanted: Wanted, machines: list[Node]) -> int:
    """The most instances that may ever be there."""
    if wanted.mode == "every-node":
        surge = wanted.max_parallel if wanted.surge else 0
        return sum(permitted(wanted, node) for node in machines) * min(wanted.replicas, 1) + surge
    count = min(wanted.replicas, 1) if wanted.mode == "singleton" else wanted.replicas
    return count + (wanted.max_parallel if wanted.surge and wanted.mode != "singleton" else 0)


@settings(max_examples=300, deadline=None)
@given(WANTED, ROLLOUTS, NODES, INSTANCES)
def test_a_step_never_exceeds_the_count_nor_starts_where_it_may_not(
        desired: list[Wanted], rollouts: dict[str, Rollout], machines: list[Node], instances: list[Instance]) -> None:
    changes = plan(desired, rollouts, machines, instances, 10.0)
    assert changes == plan(list(reversed(desired)), rollouts, list(reversed(machines)),
                           list(reversed(instances)), 10.0), "the order of what is given decides nothing"
    by_name = {node.name: node for node in machines}
    assert len({start.name for start in changes.start} | {one.name for one in instances}) == (
        len(changes.start) + len(instances)), "a name means one process"
    stopped = {stop.name for stop in changes.stop}
    assert stopped <= {one.name for one in instances if one.state != "draining"}
    for wanted in desired:
        starts = [start for start in changes.start if start.service == wanted.service]
        assert all(permitted(wanted, by_name[start.node]) for start in starts)
        assert wanted.mode == "every-node" or not any(by_name[start.node].cordoned for start in starts)
        before = [one for one in instances if one.service == wanted.service
                  and one.state != "draining" and one.node in by_name and by_name[one.node].alive]
        after = len([one for one in before if one.name not in stopped]) + len(starts)
        assert after <= max(limit(wanted, machines), len(before))
        if starts:
            assert after <= limit(wanted, machines)


@settings(max_examples=200, deadline=None)
@given(WANTED, ROLLOUTS, NODES, INSTANCES, st.sets(st.sampled_from(["v1", "v2"])))
def test_it_converges_and_then_asks_for_nothing(
        desired: list[Wanted], rollouts: dict[str, Rollout], machines: list[Node], instances: list[Instance],
        broken: set[str]) -> None:
    world = World(machines, broken)
    world.instances = {one.name: one for one in instances}
    world.rollouts = dict(rollouts)
    world.now = 10.0
    world.settle(*desired)
    for wanted in desired:
        if wanted.version in broken or rollouts.get(wanted.service, Rollout()).failed == wanted.version:
            continue
        mine = [one for one in world.instances.values() if one.service == wanted.service]
        places = [node for node in machines if permitted(wanted, node)]
        if wanted.mode == "every-node":
            assert sorted(one.node for one in mine) == sorted(
                node.name for node in places if wanted.replicas)
        elif any(not node.cordoned for node in places):
            assert len(mine) == (min(wanted.replicas, 1) if wanted.mode == "singleton" else wanted.replicas)
            assert {one.version for one in mine} <= {wanted.version}
