"""`filter`, `split` and `multicast`: what goes on, how often, and under which names."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint.errors import RejectedError
from arint.flows import Output, compile_flow, run_stage
from arint.flows.steps.forking import Items
from arint.message import Message
from arint.resources.kinds import Flow, Retry
from arint.testing import FlowTest


def test_of(*steps, **known):
    return FlowTest(Flow(name="t", steps=list(steps), retry=Retry(attempts=2), **known.pop("flow", {})), **known)


test_of.__test__ = False


def test_what_a_filter_takes_out_ends_quietly():
    run = test_of({"filter": "body.n > 1"}, {"send": {"to": "flow/x"}}).run_all([{"n": 1}, {"n": 2}])
    assert run.filtered == 1 and run.values == [{"n": 2}] and not run.dead
    assert [sent.value for sent in run.sent] == [{"n": 2}]


def test_a_filter_that_does_not_fit_is_a_dead_letter():
    assert test_of({"filter": "body.n > 1"}).run({}).failure.kind == "rejected"
    assert "neither true nor false" in test_of({"filter": "body.n"}).run({"n": 1}).failure.message


def test_each_item_goes_on_by_itself():
    run = test_of({"set": {"vars.order": "body.id"}}, {"split": "body.lines"},
                  {"set": {"body.order": "vars.order"}}, {"call": "service/x"},
                  services={"x": lambda body: {**body, "seen": True}}).run({"id": 7, "lines": [{"a": 1}, {"a": 2}]})
    assert run.values == [{"a": 1, "order": 7, "seen": True}, {"a": 2, "order": 7, "seen": True}]
    first, second = run.ended
    assert first.id != second.id and first.root == second.root == first.cause == second.cause
    assert first.variables["split"] == {"index": 0, "count": 2, "parent": first.root, "run": 0}


def test_a_part_that_fails_takes_no_other_with_it():
    run = test_of({"split": "body"}, {"map": "$number($)"}, {"log": "{{ body }}"}).run(["1", "x", "3"])
    assert run.values == [1, 3] and len(run.dead) == 1 and run.failure.kind == "rejected"


def test_an_empty_list_ends_and_what_is_no_list_is_refused():
    assert test_of({"split": "body"}, {"log": "x"}).run([]).logs == []
    assert "no list but dict" in test_of({"split": "body"}).run({}).failure.message
    assert "there is no lines" in test_of({"split": "body.lines"}).run({}).failure.message


def test_batches_of_parts():
    run = test_of({"split": {"each": "body", "batch": 2}}, {"log": "x"}).run([1, 2, 3, 4, 5])
    assert run.values == [[1, 2], [3, 4], [5]]
    assert [one.variables["split"]["count"] for one in run.ended] == [3, 3, 3]


def test_a_split_within_a_split():
    run = test_of({"split": "body"}, {"split": "body"}, {"log": "x"}).run([[1, 2], [3]])
    assert run.values == [1, 2, 3]
    assert run.ended[2].variables["split"]["outer"]["index"] == 1
    assert len({one.id for one in run.ended}) == 3


def test_parts_that_would_not_fit_the_stream_are_refused_before_any_is_stored():
    run = test_of({"split": "body"}, {"log": "x"}, flow={"max_bytes": "100KiB"}).run(
        list(range(1000)), headers={"x": "y" * 100})
    assert "more than the flow may hold" in run.failure.message and not run.ended


def test_a_failed_part_is_caught_alone():
    run = test_of({"try": [{"split": "body"}, {"call": "service/x"}], "catch": [{"set": {"body": "'caught'"}}]},
                  {"log": "{{ body }}"}, services={"x": lambda body: 1 / body}).run([1, 0, 2])
    assert sorted(map(str, run.values)) == ["0.5", "1.0", "caught"]


def test_each_branch_gets_a_copy_and_what_follows_is_done_for_each():
    run = test_of({"multicast": [[{"call": "service/a"}], [{"set": {"body.b": 2}}, {"filter": "body.n > 1"}]]},
                  {"log": "{{ body }}"}, services={"a": lambda body: {**body, "a": 1}}).run_all([{"n": 1}, {"n": 2}])
    assert run.values == [{"n": 1, "a": 1}, {"n": 2, "b": 2}, {"n": 2, "a": 1}] or len(run.values) == 3
    assert run.filtered == 1
    assert len({one.id for one in run.ended}) == 3


def test_a_split_first_is_done_in_the_first_stage_and_its_parts_begin_at_the_next_effect():
    program = compile_flow(Flow(name="t", steps=[{"split": "body"}, {"call": "service/x"}]), {})
    assert set(program.stages) == {"start", "1-call-x"}
    program = compile_flow(Flow(name="t", steps=[{"split": "body"}, {"log": "x"}, {"call": "service/x"}]), {})
    assert set(program.stages) == {"start", "0-part", "2-call-x"}


@given(st.lists(st.integers() | st.text() | st.dictionaries(st.text(), st.integers()), max_size=30), st.integers(1, 7))
def test_doing_a_split_again_makes_the_same_messages(items, batch):
    program = compile_flow(Flow(name="t", steps=[{"split": {"each": "body.items", "batch": batch}}]), {})
    message = FlowTest(Flow(name="t", steps=[{"log": "x"}])).run({"items": items}).message

    async def parts() -> list[Output]:
        result = await run_stage(program, "start", message, None)
        outputs = list(result.fork.outputs)
        assert len(outputs) == result.fork.count == -(-len(items) // batch)
        return outputs

    first, second = asyncio.run(parts()), asyncio.run(parts())
    assert first == second and len({output.message.id for output in first}) == len(first)
    replayed = message.__copy__()
    replayed.run = 1
    ids = {output.message.id for output in first}
    assert all(output.message.derive("x", 0).id not in ids for output in first)


@pytest.mark.parametrize(("source", "body", "items"), [
    ("body", [1], [1]), ("body.a.b", {"a": {"b": [2]}}, [2]), (" body . a ", {"a": []}, []),
    ("body.filter(x, x > 1)", [1, 2], [2]), ("[body, body]", 3, [3, 3])])
def test_lists_by_place_and_by_expression(source, body, items):
    from arint.flows.state import State

    state = State(Message.new(b"null"), "t", "start", None)
    state.body = body
    assert Items(source).of(state) == items


def test_a_place_that_is_no_object():
    from arint.flows.state import State

    state = State(Message.new(b'{"a":[1]}'), "t", "start", None)
    with pytest.raises(RejectedError):
        Items("body.a.b").of(state)
