"""Placement: what holds of every decision, whatever Hypothesis finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from arint.availability.board import Board
from arint.availability.choosing import refusal
from arint.availability.explaining import explain
from arint.availability.foreseeing import foresee
from arint.availability.model import Instance, Node, Rollout, Wanted, is_trial
from arint.availability.placement import permitted, plan
from tests.availability.world import World

LABELS = st.sampled_from([{"zone": "a"}, {"zone": "b"}, {}])
ASKED = st.sampled_from([{}, {}, {"zone": "a"}, {"zone": "b"}])
USUALLY = st.sampled_from([True, True, True, False])
SELDOM = st.sampled_from([False, False, False, True])
NODES = st.lists(st.builds(
    Node, name=st.sampled_from(["n1", "n2", "n3", "n4"]), labels=LABELS, alive=USUALLY, cordoned=SELDOM,
    drain=st.sampled_from(["", "", "", "", "move", "force"]), cpu=st.sampled_from([0.0, 1.0, 2.0]),
    memory=st.sampled_from([0, 512])), max_size=4, unique_by=lambda node: node.name)
WANTED = st.lists(st.builds(
    Wanted, service=st.sampled_from(["a", "b"]), version=st.sampled_from(["v1", "v2"]), replicas=st.integers(0, 5),
    mode=st.sampled_from(["replicated", "replicated", "singleton", "every-node"]), labels=ASKED,
    spread=st.sampled_from(["", "node", "zone"]), apart=st.sampled_from([(), ("a",), ("b",), ("a", "b")]),
    cpu=st.sampled_from([0.0, 0.5, 1.0]), memory=st.sampled_from([0, 128, 512]), max_parallel=st.integers(1, 3),
    healthy_after=st.sampled_from([0.0, 1.0]), auto_revert=st.booleans(), surge=USUALLY,
    canary=st.integers(0, 2)), max_size=2, unique_by=lambda wanted: wanted.service)
INSTANCES = st.lists(st.builds(
    Instance, service=st.sampled_from(["a", "b", "gone"]), name=st.integers(1, 9).map(str),
    version=st.sampled_from(["v1", "v2", "v0"]), node=st.sampled_from(["n1", "n2", "n3", "n4"]),
    state=st.sampled_from(["starting", "ready", "failed", "draining"]), since=st.sampled_from([0.0, 9.5]),
    round=st.integers(0, 1)), max_size=8).map(lambda found: list({name.name: name for name in (
        msgspec.structs.replace(one, name=f"{one.service}-{one.name}") for one in found)}.values()))
ROLLOUTS = st.dictionaries(st.sampled_from(["a", "b", "gone"]), st.builds(
    Rollout, stable=st.sampled_from(["", "v1", "v0"]), failed=st.sampled_from(["", "v2"]), aborted=st.booleans(),
    promoted=st.sampled_from(["", "v2"]), round=st.integers(0, 1)))


def limit(wanted: Wanted, rollout: Rollout, machines: Sequence[Node]) -> int:
    """The most instances that may ever be there."""
    if wanted.mode == "every-node":
        surge = wanted.max_parallel if wanted.surge else 0
        return sum(permitted(wanted, node) for node in machines) * wanted.count + surge
    if wanted.mode == "singleton" or not wanted.surge:
        return wanted.count
    canaries = min(wanted.canary, wanted.count) + wanted.max_parallel if is_trial(wanted, rollout) else 0
    return wanted.count + wanted.max_parallel + canaries


@settings(max_examples=400)
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
        if wanted.mode != "every-node":
            assert not any(by_name[start.node].cordoned or by_name[start.node].drain for start in starts)
        before = [one for one in instances if one.service == wanted.service
                  and one.state != "draining" and one.node in by_name and by_name[one.node].alive]
        after = len([one for one in before if one.name not in stopped]) + len(starts)
        most = limit(wanted, rollouts.get(wanted.service, Rollout()), machines)
        assert after <= max(most, len(before))
        if starts:
            assert after <= most


@settings(max_examples=400)
@given(WANTED, ROLLOUTS, NODES, INSTANCES)
def test_no_start_takes_room_that_is_not_there_nor_stands_beside_what_it_is_kept_from(
        desired: list[Wanted], rollouts: dict[str, Rollout], machines: list[Node], instances: list[Instance]) -> None:
    changes = plan(desired, rollouts, machines, instances, 10.0)
    by_service = {one.service: one for one in desired}
    for node in machines:
        starts = Counter(start.service for start in changes.start if start.node == node.name
                         and by_service[start.service].mode != "every-node")
        here = Counter(one.service for one in instances if one.node == node.name)
        every = Counter(start.service for start in changes.start if start.node == node.name) - starts
        for wanted in (by_service[service] for service in starts):
            others = [one for one in desired if one.service != wanted.service
                      and (one.service in wanted.apart or wanted.service in one.apart)]
            before = [one for one in others if one.service < wanted.service]
            assert not any(here[one.service] for one in others)
            assert not any(starts[one.service] + every[one.service] for one in before)
            if wanted.service in wanted.apart:
                assert starts[wanted.service] == 1
        # What is being replaced lends its room: without it, and with all that starts, the node is not over-full.
        lenders = {service: here[service] for service in starts}
        for have, need in ((node.cpu, lambda one: one.cpu), (node.memory, lambda one: one.memory)):
            asked = [wanted for wanted in (by_service[service] for service in starts) if need(wanted)]
            if have and asked and not every:
                own = sum((starts[one.service]) * need(one) for one in asked)
                beside = sum(count * need(by_service[service]) for service, count in here.items()
                             if service in by_service and service not in lenders)
                assert own + beside <= have + 1e-9


@settings(max_examples=300)
@given(WANTED, ROLLOUTS, NODES, INSTANCES, st.sets(st.sampled_from(["v1", "v2"])))
def test_it_converges_and_then_asks_for_nothing(
        desired: list[Wanted], rollouts: dict[str, Rollout], machines: list[Node], instances: list[Instance],
        broken: set[str]) -> None:
    world = World(machines, broken)
    world.instances = {one.name: one for one in instances}
    world.rollouts = dict(rollouts)
    world.now = 10.0
    world.settle(*desired)
    board = Board(desired, machines, world.instances.values(), world.now)
    for wanted in desired:
        rollout = world.rollouts.get(wanted.service, Rollout())
        if wanted.version in broken or rollout.failed == wanted.version or is_trial(wanted, rollout):
            continue
        mine = [one for one in world.instances.values() if one.service == wanted.service]
        if wanted.mode == "every-node":
            assert sorted(one.node for one in mine) == sorted(
                node.name for node in machines if board.may_run(wanted, node) and wanted.replicas)
        elif all(board.may_run(wanted, board.nodes[one.node]) for one in mine):
            old = [one for one in mine if one.version != wanted.version or one.round < rollout.round]
            lent = Counter(one.node for one in old)
            takes = [node for node in machines if not refusal(wanted, node, board, lent)]
            assert len(mine) == wanted.count or not takes
            assert not old or not takes, "an old one only stays where no node takes the new"


@settings(max_examples=200)
@given(WANTED, NODES, st.data())
def test_nothing_moves_without_a_reason(desired: list[Wanted], machines: list[Node], data: st.DataObject) -> None:
    """Once all is settled: a node that comes, or is cordoned, moves nothing; one that dies, only what it ran."""
    world = World(machines)
    world.settle(*desired)
    standing = list(world.instances.values())
    more = [*machines, Node(name="n9")]
    assert not plan(desired, world.rollouts, more, standing, world.now).stop
    cordoned = [msgspec.structs.replace(node, cordoned=data.draw(st.booleans())) for node in machines]
    assert not plan(desired, world.rollouts, cordoned, standing, world.now).stop
    if machines:
        dead = data.draw(st.sampled_from(machines)).name
        after = [msgspec.structs.replace(node, alive=False) if node.name == dead else node for node in machines]
        changes = plan(desired, world.rollouts, after, standing, world.now)
        assert {stop.node for stop in changes.stop} <= {dead}
        assert {stop.name for stop in changes.stop} == {one.name for one in standing if one.node == dead}


@settings(max_examples=200)
@given(WANTED, NODES, st.data())
def test_a_drain_ends_with_an_empty_node_or_with_what_no_other_takes(
        desired: list[Wanted], machines: list[Node], data: st.DataObject) -> None:
    machines = [msgspec.structs.replace(node, drain="") for node in machines]
    world = World(machines)
    world.settle(*desired)
    drained = data.draw(st.sampled_from([*(node.name for node in machines), "n1"]))
    how = data.draw(st.sampled_from(["move", "force"]))
    world.nodes = [msgspec.structs.replace(node, drain=how) if node.name == drained else node for node in machines]
    foreseen = foresee(desired, world.rollouts, world.nodes, world.instances.values())
    world.settle(*desired)
    assert Counter((one.service, one.node) for one in foreseen) == Counter(
        (one.service, one.node) for one in world.instances.values()), "what is foreseen is what comes"
    left = [one for one in world.instances.values() if one.node == drained]
    board = Board(desired, world.nodes, world.instances.values(), world.now)
    wanted_by = {one.service: one for one in desired}
    stuck = [one for one in left if wanted_by[one.service].mode != "every-node"]
    assert how == "move" or not stuck
    assert stuck or not left, "what runs on every node leaves last, and leaves"
    for one in stuck:
        wanted = wanted_by[one.service]
        assert all(refusal(wanted, node, board, Counter()) for node in world.nodes)


@settings(max_examples=200)
@given(WANTED, ROLLOUTS, NODES, INSTANCES)
def test_an_explanation_tells_what_the_plan_does(desired: list[Wanted], rollouts: dict[str, Rollout],
                                                 machines: list[Node], instances: list[Instance]) -> None:
    changes = plan(desired, rollouts, machines, instances, 10.0)
    for wanted in desired:
        told = explain(wanted.service, desired, rollouts, machines, instances, 10.0)
        starts = {start.name for start in changes.start if start.service == wanted.service}
        stops = {stop.name for stop in changes.stop if stop.service == wanted.service}
        assert {one.instance for one in told.instances if one.what == "starts"} == starts
        assert stops <= {one.instance for one in told.instances if one.what == "leaves"}
        assert len(told.nodes) == len(machines)
        assert all(one.why for one in (*told.nodes, *told.instances))
        lacking = sum(one.what == "waits" and not one.instance for one in told.instances)
        assert lacking == changes.unplaced.get(wanted.service, 0) or not wanted.count
