"""Several nodes: room, services kept apart, drains, canaries, restarts; and how each is explained."""

from __future__ import annotations

from collections import Counter

import msgspec

from arint.availability.explaining import explain
from arint.availability.foreseeing import moves
from arint.availability.model import Instance, Node, Rollout, Wanted
from arint.availability.placement import plan
from tests.availability.world import World, nodes


def set_node(world: World, name: str, **changes: object) -> None:
    world.nodes = [msgspec.structs.replace(node, **changes) if node.name == name else node for node in world.nodes]


def where(world: World, service: str) -> Counter[str]:
    return Counter(one.node for one in world.instances.values() if one.service == service)


def test_a_node_takes_what_it_has_room_for_and_the_rest_waits() -> None:
    machines = [Node(name="n1", cpu=2.0), Node(name="n2", cpu=1.0, memory=256)]
    wanted = Wanted(service="price", version="v1", replicas=5, cpu=0.5, memory=256)
    changes = plan([wanted], {}, machines, [], 0.0)
    assert Counter(start.node for start in changes.start) == {"n1": 4, "n2": 1}
    assert not changes.unplaced
    more = plan([msgspec.structs.replace(wanted, replicas=7)], {}, machines, [], 0.0)
    assert len(more.start) == 5
    assert more.unplaced == {"price": 2}


def test_nodes_of_different_size_carry_by_their_size() -> None:
    machines = [Node(name="n1", cpu=8.0), Node(name="n2", cpu=4.0)]
    changes = plan([Wanted(service="price", version="v1", replicas=6)], {}, machines, [], 0.0)
    assert Counter(start.node for start in changes.start) == {"n1": 4, "n2": 2}


def test_a_full_node_is_updated_too_since_what_is_replaced_lends_its_room() -> None:
    world = World([Node(name="n1", cpu=1.0)])
    old = Wanted(service="price", version="v1", replicas=2, cpu=0.5)
    world.settle(old)
    world.least_ready.clear()
    world.settle(msgspec.structs.replace(old, version="v2"))
    assert world.versions("price") == {"v2"}
    assert world.least_ready["price"] == 2


def test_spread_over_zones_is_even_where_nodes_are_not() -> None:
    machines = [Node(name=f"a{number}", labels={"zone": "a"}) for number in range(3)]
    machines.append(Node(name="b0", labels={"zone": "b"}))
    changes = plan([Wanted(service="price", version="v1", replicas=4, spread="zone")], {}, machines, [], 0.0)
    assert Counter(start.node[0] for start in changes.start) == {"a": 2, "b": 2}


def test_kept_apart_goes_both_ways_and_its_own_name_means_one_on_each_node() -> None:
    world = World(nodes(3))
    alone = Wanted(service="alone", version="v1", replicas=3, apart=("alone",))
    world.settle(alone)
    assert where(world, "alone") == {"n1": 1, "n2": 1, "n3": 1}
    world.settle(msgspec.structs.replace(alone, version="v2"))
    assert world.versions("alone") == {"v2"}
    world = World(nodes(2))
    world.settle(Wanted(service="noisy", version="v1", apart=("quiet",)), Wanted(service="quiet", version="v1"))
    assert where(world, "noisy") != where(world, "quiet")


def test_a_drain_moves_what_runs_with_no_gap_and_daemons_leave_last() -> None:
    world = World(nodes(3))
    price = Wanted(service="price", version="v1", replicas=6)
    runner = Wanted(service="system/runner", base="runner", version="1", mode="every-node")
    world.settle(price, runner)
    world.least_ready.clear()
    world.most.clear()
    set_node(world, "n1", drain="move", cordoned=True)
    while where(world, "price")["n1"]:
        assert where(world, "system/runner")["n1"]
        world.apply(plan([price, runner], world.rollouts, world.nodes, world.instances.values(), world.now))
        world.advance()
    world.settle(price, runner)
    assert where(world, "price") == {"n2": 3, "n3": 3}
    assert where(world, "system/runner") == {"n2": 1, "n3": 1}
    assert world.least_ready["price"] == 6
    assert world.most["price"] <= 7
    set_node(world, "n1", drain="", cordoned=False)
    world.settle(price, runner)
    assert where(world, "price") == {"n2": 3, "n3": 3}, "nobody moves back without a reason"
    assert where(world, "system/runner")["n1"] == 1


def test_a_drained_singleton_stops_before_it_starts_elsewhere() -> None:
    world = World(nodes(2))
    clock = Wanted(service="clock", version="v1", mode="singleton")
    world.settle(clock)
    (there,) = world.instances.values()
    set_node(world, there.node, drain="move")
    changes = plan([clock], world.rollouts, world.nodes, world.instances.values(), world.now)
    assert not changes.start
    assert [stop.name for stop in changes.stop] == [there.name]
    world.settle(clock)
    assert where(world, "clock") == {"n2" if there.node == "n1" else "n1": 1}


def test_what_no_other_node_takes_stays_unless_it_is_forced() -> None:
    world = World([Node(name="n1", labels={"gpu": "1"}), Node(name="n2")])
    wanted = [Wanted(service="model", version="v1", labels={"gpu": "1"}), Wanted(service="price", version="v1")]
    world.settle(*wanted)
    told = moves(wanted, world.rollouts, world.nodes, list(world.instances.values()), "n1")
    assert [(move.instance, move.why) for move in told] == [
        ("model-1", "n2: it has no label gpu, and gpu=1 is asked for")]
    set_node(world, "n1", drain="move")
    world.settle(*wanted)
    assert where(world, "model") == {"n1": 1}
    set_node(world, "n1", drain="force")
    world.settle(*wanted)
    assert where(world, "model") == {}
    set_node(world, "n1", drain="")
    world.settle(*wanted)
    assert where(world, "model") == {"n1": 1}


def test_a_canary_waits_beside_all_of_the_stable_version_until_it_is_promoted() -> None:
    world = World(nodes(2))
    old = Wanted(service="price", version="v1", replicas=4, canary=1)
    world.settle(old)
    assert world.versions("price") == {"v1"}, "the first version needs no canary"
    world.least_ready.clear()
    new = msgspec.structs.replace(old, version="v2")
    world.settle(new)
    assert Counter(one.version for one in world.instances.values()) == {"v1": 4, "v2": 1}
    assert world.rollouts["price"].stable == "v1"
    canary = next(one.name for one in world.instances.values() if one.version == "v2")
    told = explain("price", [new], world.rollouts, world.nodes, list(world.instances.values()), world.now)
    assert told.trial
    assert next(one.why for one in told.instances if one.instance == canary).startswith("a canary")
    world.rollouts["price"] = msgspec.structs.replace(world.rollouts["price"], promoted="v2")
    world.settle(new)
    assert Counter(one.version for one in world.instances.values()) == {"v2": 4}
    assert canary in world.instances, "it has proven itself already"
    assert world.least_ready["price"] >= 4
    assert world.rollouts["price"] == Rollout(stable="v2")


def test_an_aborted_canary_leaves_and_a_failed_one_is_given_up() -> None:
    world = World(nodes(2), broken={"v3"})
    old = Wanted(service="price", version="v1", replicas=2, canary=1, auto_revert=False)
    world.settle(old)
    new = msgspec.structs.replace(old, version="v2")
    world.settle(new)
    world.rollouts["price"] = msgspec.structs.replace(world.rollouts["price"], failed="v2", aborted=True)
    world.settle(new)
    assert Counter(one.version for one in world.instances.values()) == {"v1": 2}
    world.settle(msgspec.structs.replace(old, version="v3", auto_revert=True))
    assert Counter(one.version for one in world.instances.values()) == {"v1": 2}
    assert world.rollouts["price"].failed == "v3"


def test_a_node_that_dies_while_canaries_wait_is_made_up_for_by_the_stable_version() -> None:
    world = World(nodes(3))
    old = Wanted(service="price", version="v1", replicas=3, canary=1)
    world.settle(old)
    new = msgspec.structs.replace(old, version="v2")
    world.settle(new)
    set_node(world, "n2", alive=False)
    world.settle(new)
    assert Counter(one.version for one in world.instances.values()) == {"v1": 3, "v2": 1}


def test_a_restart_replaces_each_once_by_its_own_version() -> None:
    world = World(nodes(2))
    wanted = Wanted(service="price", version="v1", replicas=3)
    world.settle(wanted)
    world.least_ready.clear()
    world.rollouts["price"] = msgspec.structs.replace(world.rollouts["price"], round=1)
    world.settle(wanted)
    assert {one.round for one in world.instances.values()} == {1}
    assert len(world.instances) == 3
    assert world.least_ready["price"] >= 3
    assert world.rollouts["price"] == Rollout(stable="v1", round=1)


def test_why_names_the_reason_of_each_node() -> None:
    machines = [Node(name="n1", labels={"zone": "a"}, cpu=1.0), Node(name="n2", labels={"zone": "b"}),
                Node(name="n3", alive=False), Node(name="n4", labels={"zone": "a"}, cordoned=True),
                Node(name="n5", labels={"zone": "a"}, drain="move"), Node(name="n6", labels={"zone": "a"}, memory=1024)]
    price = Wanted(service="price", version="v1", replicas=2, labels={"zone": "a"}, cpu=0.6, memory=2048)
    there = [Instance(service="price", name="price-1", version="v1", node="n1", state="ready")]
    told = explain("price", [price], {}, machines, there, 10.0)
    assert {one.node: one.why for one in told.nodes} == {
        "n1": "0.4 of 1 processors are free, and 0.6 needed",
        "n2": "it has zone=b, and zone=a is asked for",
        "n3": "it is away",
        "n4": "it is cordoned",
        "n5": "it is being drained",
        "n6": "1 KiB of 1 KiB are free, and 2 KiB needed"}
    assert [(one.instance, one.what) for one in told.instances] == [("price-1", "stays"), ("", "waits")]
