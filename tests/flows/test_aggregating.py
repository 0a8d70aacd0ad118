"""`aggregate`, in memory."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint.flows import check_steps
from arint.flows.groups import Member
from arint.flows.steps.aggregating import Aggregate, AggregateSpec
from arint.message import Message
from arint.resources.kinds import Flow, Retry
from arint.testing import Clock, FlowTest


def flow_test(*steps, **known):
    return FlowTest(Flow(name="t", steps=list(steps), retry=Retry(attempts=2)), **known)


def test_groups_by_key_and_size_and_what_is_left_by_time():
    run = flow_test({"log": "x"}, {"aggregate": {"by": "body.c", "size": 2}}).run_all(
        [{"c": "a", "n": 1}, {"c": "b", "n": 2}, {"c": "a", "n": 3}, {"c": "a", "n": 4}])
    assert sorted(map(str, run.values)) == sorted(map(str, [
        [{"c": "a", "n": 1}, {"c": "a", "n": 3}], [{"c": "b", "n": 2}], [{"c": "a", "n": 4}]]))
    assert run.ended[0].variables["group"] == {"key": "a", "count": 2, "complete": "size"}
    assert {one.variables["group"]["complete"] for one in run.ended[1:]} == {"time"}


def test_a_clock_tells_which_belong_together():
    clock = Clock()
    run = flow_test({"delay": "4s"}, {"aggregate": {"after": "10s"}}, {"log": "x"}, clock=clock).run_all(range(1, 6))
    assert run.values == [[1, 2, 3], [4, 5]]
    assert clock.passed == 5 * 4 + 6


def test_a_condition_completes_a_group():
    run = flow_test({"aggregate": {"complete": "body == 'end' || vars.group.count == 3"}}, {"log": "x"}).run_all(
        ["a", "b", "c", "d", "end", "f"])
    assert run.values == [["a", "b", "c"], ["d", "end"], ["f"]]


def test_scatter_and_gather():
    run = flow_test({"set": {"vars.id": "body.id"}}, {"split": "body.lines"}, {"call": "service/price"},
                    {"aggregate": {"split": True, "into": "body.lines"}}, {"set": {"body.id": "vars.id"}},
                    services={"price": lambda n: n * 10}).run({"id": 7, "lines": [1, 2, 3]})
    assert run.values == [{"id": 7, "lines": [10, 20, 30]}]
    (whole,) = run.ended
    assert "split" not in whole.variables and whole.cause == whole.root


def test_parts_filtered_out_are_not_waited_for():
    run = flow_test({"split": "body"}, {"filter": "body > 1"}, {"aggregate": {"split": True}}, {"log": "x"}
                    ).run([1, 2, 3])
    assert run.values == [[2, 3]] and run.filtered == 1
    assert run.ended[0].variables["group"]["complete"] == "split"
    run = flow_test({"split": "body"}, {"filter": "body > 9"}, {"aggregate": {"split": True}}).run([1, 2, 3])
    assert run.values == [[]]


def test_a_dead_part_is_missing_when_the_time_is_over():
    run = flow_test({"split": "body"}, {"call": "service/x"}, {"aggregate": {"split": True, "after": "1h"}},
                    services={"x": lambda n: 1 / n}).run([1, 0, 2])
    assert run.values == [[1.0, 0.5]] and len(run.dead) == 1
    assert run.ended[0].variables["group"]["complete"] == "time"


def test_nested_gathering():
    run = flow_test({"split": "body"}, {"split": "body"}, {"aggregate": {"split": True}},
                    {"aggregate": {"split": True}}, {"log": "x"}).run([[1, 2], [3], [4, 5, 6]])
    assert run.values == [[[1, 2], [3], [4, 5, 6]]]


def test_branches_are_gathered():
    run = flow_test({"multicast": [[{"call": "service/a"}], [{"set": {"body": "'b'"}}]]},
                    {"aggregate": {"split": True}}, services={"a": lambda body: "a"}).run({})
    assert run.values == [["a", "b"]]


def test_what_is_no_part_is_a_dead_letter():
    assert "no part of a split" in flow_test({"aggregate": {"split": True}}).run({}).failure.message
    assert flow_test({"aggregate": {"by": "body.x", "size": 2}}).run({}).failure.kind == "rejected"


def test_text_is_kept_as_text():
    run = flow_test({"aggregate": {"size": 2}}).run_all([b"a\nb", b"c"], content_type="text/plain")
    assert run.values == [["a\nb", "c"]]
    assert flow_test({"aggregate": {"size": 1}}).run(b"\xff", content_type="x/y").failure.kind == "rejected"


def test_members_of_different_roots_go_under_a_root_of_their_own():
    run = flow_test({"aggregate": {"size": 2}}).run_all([1, 2])
    (whole,) = run.ended
    assert whole.root == whole.id and whole.cause and whole.cause != whole.id
    run = flow_test({"split": "body"}, {"aggregate": {"size": 2}}).run([1, 2])
    assert run.ended[0].root != run.ended[0].id


@pytest.mark.parametrize(("spec", "path", "words"), [
    ({}, (), "size, after, complete or split"), ({"size": 0}, ("size",), "at least"),
    ({"split": True, "size": 2}, (), "split says already"), ({"size": 2, "into": "vars.x"}, ("into",), "body.NAME"),
    ({"size": 2, "by": "1 +"}, ("by",), "CEL"), ({"complete": "bdy"}, ("complete",), 'did you mean "body"'),
    ({"size": 2, "afer": "1s"}, ("afer",), 'did you mean "after"')])
def test_mistakes_are_told_at_their_place(spec, path, words):
    found = {problem.path: f"{problem.message} {problem.suggestion}" for problem in check_steps([{"aggregate": spec}])}
    assert words in found[0, "aggregate", *path], found


bodies = st.lists(st.integers() | st.text() | st.lists(st.integers(), max_size=3), min_size=2, max_size=20)


@given(bodies, st.data())
def test_members_made_one_on_the_way_change_nothing(items, data):
    step = Aggregate(AggregateSpec(size=3))
    step._path = "0"
    messages = [Message(id=f"M{n}", root="R", body=json.dumps(item).encode()) for n, item in enumerate(items)]
    members = [Member(n, 1.0, 1, n) for n in range(len(items))]
    pairs = list(zip(members, messages, strict=True))
    cut = data.draw(st.integers(1, len(items)))
    partial = step.compact("t", pairs[:cut])
    from arint.flows.state import State

    of_partial = step.member(State(partial, "t", "s", None), "", 100, 5.0, None)
    assert of_partial.weight == cut and of_partial.at == 1.0
    whole = step.combine("t", "", [(of_partial, partial), *pairs[cut:]], "size")
    direct = step.combine("t", "", pairs, "size")
    assert json.loads(whole.body) == json.loads(direct.body) == items
    assert whole.variables == direct.variables
