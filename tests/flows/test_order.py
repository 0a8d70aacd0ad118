"""Of each key one at a time, in the order of coming, whatever is tried again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arint.flows import compile_flow
from arint.flows.order import Queues
from arint.resources.kinds import Flow
from arint.resources.manifests import Text
from arint.testing import FlowTest


@given(st.lists(st.sampled_from("abc"), max_size=40), st.data())
def test_one_of_a_key_at_a_time_and_in_order(keys, data):
    queues, inside, left, waiting = Queues(), {}, [], list(enumerate(keys))
    while waiting or inside:
        if waiting and (not inside or data.draw(st.booleans())):
            sequence, key = waiting.pop(0)
            if queues.add(key, sequence):
                assert key not in inside
                inside[key] = sequence
            assert queues.add(key, sequence) == (inside.get(key) == sequence), "brought again: nothing changes"
        else:
            key = data.draw(st.sampled_from(sorted(inside)))
            sequence = inside.pop(key)
            left.append((key, sequence))
            following = queues.leave(key, sequence)
            if following is not None:
                inside[key] = following
    for key in "abc":
        mine = [sequence for one, sequence in left if one == key]
        assert mine == [sequence for sequence, one in enumerate(keys) if one == key]
    assert not queues._of_key


def test_one_that_comes_late_is_before_those_behind_it_but_not_before_the_one_that_has_begun():
    queues = Queues()
    assert queues.add("k", 5) and not queues.add("k", 9) and not queues.add("k", 3) and not queues.add("k", 7)
    assert queues.leave("k", 5) == 3
    assert queues.leave("k", 7) is None
    assert queues.leave("k", 3) == 9


def test_a_message_without_a_key_is_a_dead_letter():
    flow = Flow(name="t", order_by="body.customer", steps=[{"call": "service/x"}])
    assert compile_flow(flow, {}).stages["start"].kind == "pure"
    assert compile_flow(flow, {}).has_owner("start")
    test = FlowTest(flow, services={"x": lambda body: body})
    assert test.run({"customer": 7}).failure is None
    assert "no 'customer'" in test.run({}).failure.message
    assert "no key" in test.run({"customer": None}).failure.message


def test_a_wrong_order_is_told_with_its_line(tmp_path):
    from arint.errors import NotValidError
    from arint.resources.manifests import load_text

    text = "kind: Flow\nname: t\norder_by: bdy.x\nsteps:\n  - log: x\n"
    try:
        load_text(Text("t.yaml", text, tmp_path))
    except NotValidError as error:
        (problem,) = error.problems
        assert problem.line == 3 and "body" in problem.suggestion
    else:
        raise AssertionError
