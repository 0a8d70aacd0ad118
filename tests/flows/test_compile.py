"""From steps to stages: tokens, targets, retries, inlining; what cannot be compiled says why."""

from __future__ import annotations

import pytest

from arint.errors import NotFoundError, NotValidError
from arint.flows import compile_flow, implicit_program
from arint.resources.kinds import Flow, Retry


def flow(*steps, name="orders", **known):
    return Flow(name=name, steps=list(steps), **known)


def tokens(*steps, **known):
    return list(compile_flow(flow(*steps), **({"flows": {}} | known)).stages)


def test_each_effect_begins_a_stage_named_by_its_place():
    program = compile_flow(flow(
        {"validate": {"schema": {}}},
        {"call": "service/price"},
        {"map": "$"},
        {"when": {"if": "body.x > 1", "then": [{"call": "service/approve"}], "else": [{"call": "service/deny"}]}},
        {"route": [{"when": "body.x > 2", "then": [{"send": {"to": "connection/a"}}]},
                   {"otherwise": [{"send": {"to": "connection/b"}}]}]},
        {"callback": {"url": "headers.x"}}), {})
    assert set(program.stages) == {"start", "1-call-price", "3t0-call-approve", "3e0-call-deny", "4r0s0-send-a",
                                   "4r1s0-send-b", "5-callback"}
    assert program.stages["start"].kind == "pure"
    assert program.stages["1-call-price"].target == "service/price"
    assert program.stages["4r0s0-send-a"].target == "connection/a"
    assert program.stages["5-callback"].kind == "callback"


def test_each_step_knows_where_it_stands_in_the_manifest():
    inner = flow({"log": "x"}, {"try": [{"call": "service/tax"}], "catch": [{"log": "y"}]}, name="inner")
    program = compile_flow(flow(
        {"try": [{"set": {"body.n": "1"}, "name": "tidy"}, {"call": "service/a"}], "catch": [{"call": "service/b"}]},
        {"when": {"if": "body.x > 1", "then": [{"call": "service/c"}], "else": [{"call": "service/d"}]}},
        {"route": [{"when": "body.x > 2", "then": [{"log": "z"}, {"send": {"to": "connection/e"}}]},
                   {"otherwise": [{"send": {"to": "connection/f"}}]}]},
        {"call": "flow/inner"},
        {"multicast": [[{"call": "service/g"}], [{"log": "z"}, {"call": "service/h", "name": "halve"}]]},
    ), {"inner": inner})
    by_target = {stage.target: stage.where for stage in program.stages.values() if stage.target}
    assert by_target == {
        "service/a": "steps[0].try[1].call", "service/b": "steps[0].catch[0].call",
        "service/c": "steps[1].when.then[0].call", "service/d": "steps[1].when.else[0].call",
        "connection/e": "steps[2].route[0].then[1].send", "connection/f": "steps[2].route[1].otherwise[0].send",
        "service/tax": "flow/inner: steps[1].try[0].call",
        "service/g": "steps[4].multicast[0][0].call", "service/h": "halve (steps[4].multicast[1][1].call)"}
    assert program.instructions[0].where == "tidy (steps[0].try[0].set)"


def test_a_flow_that_begins_with_an_effect_does_it_in_its_first_stage():
    program = compile_flow(flow({"call": "service/price"}, {"call": "service/tax"}), {})
    assert set(program.stages) == {"start", "1-call-tax"}
    assert (program.stages["start"].kind, program.stages["start"].target) == ("call", "service/price")


def test_tokens_do_not_depend_on_what_comes_after():
    first = [{"log": "x"}, {"call": "service/price"}, {"try": [{"call": "service/a"}], "catch": [{"log": "y"}]}]
    assert set(tokens(*first)) <= set(tokens(*first, {"call": "service/z"}, {"callback": {"url": "'http://x'"}}))


def test_a_try_around_an_effect_has_a_stage_for_its_catch():
    stages = compile_flow(flow({"log": "x"}, {"try": [{"call": "service/a"}], "catch": [{"log": "y"}]}), {}).stages
    assert stages["1y0-call-a"].handler == "1-catch"
    assert stages["1-catch"].handler == ""


def test_a_catch_that_begins_with_an_effect_begins_in_that_effects_stage():
    stages = compile_flow(flow({"try": [{"call": "service/a"}], "catch": [{"call": "service/b"}]}), {}).stages
    assert stages["start"].handler == "0c0-call-b"
    assert set(stages) == {"start", "0c0-call-b"}


def test_a_step_has_its_own_retry_or_the_flows():
    own = {"attempts": 3, "backoff": "1s..2s"}
    program = compile_flow(flow({"call": "service/a", "retry": own}, {"when": {"if": "true", "then": [
        {"call": "service/b"}]}, "retry": own}, {"call": "service/c"}, retry=Retry(attempts=2)), {})
    assert program.retry("start").attempts == 3
    assert program.retry("1t0-call-b").attempts == 3
    assert program.retry("2-call-c").attempts == 2


def test_a_called_flow_becomes_steps_with_its_own_retry():
    inner = flow({"call": "service/a"}, {"map": "$"}, name="inner", retry=Retry(attempts=5))
    program = compile_flow(flow({"log": "x"}, {"call": "flow/inner"}, {"call": "service/b"}), {"inner": inner})
    assert set(program.stages) == {"start", "1f0-call-a", "2-call-b"}
    assert program.retry("1f0-call-a").attempts == 5
    assert program.retry("2-call-b").attempts == 8


def test_the_same_flow_may_be_called_twice_but_not_in_a_circle():
    inner = flow({"call": "service/a"}, name="inner")
    twice = tokens({"call": "flow/inner"}, {"call": "flow/inner"}, flows={"inner": inner})
    assert set(twice) == {"start", "1f0-call-a"}
    one, two = flow({"call": "flow/two"}, name="one"), flow({"call": "flow/one"}, name="two")
    with pytest.raises(NotValidError, match="one -> two -> one"):
        compile_flow(one, {"one": one, "two": two})


def test_flows_that_double_each_time_are_refused_in_time():
    flows = {f"f{n}": flow({"call": f"flow/f{n + 1}"}, {"call": f"flow/f{n + 1}"}, name=f"f{n}") for n in range(40)}
    flows["f40"] = flow({"log": "x"}, name="f40")
    with pytest.raises(NotValidError, match="more than"):
        compile_flow(flows["f0"], flows)


def test_what_is_not_there_is_named():
    with pytest.raises(NotFoundError, match="no flow nothing"):
        compile_flow(flow({"call": "flow/nothing"}), {})
    with pytest.raises(NotFoundError, match="no stage 7-call-x"):
        compile_flow(flow({"log": "x"}), {}).stage("7-call-x")
    with pytest.raises(NotValidError, match="CEL"):
        compile_flow(flow({"when": {"if": "1 +", "then": [{"log": "x"}]}}), {})


def test_implicit_flows():
    program = implicit_program("service=price")
    assert program.flow == "service=price"
    assert list(program.stages) == ["start"]
    assert program.stages["start"].target == "service/price"
    assert implicit_program("connection=db").stages["start"].kind == "send"
    with pytest.raises(NotFoundError):
        implicit_program("nothing=x")


def test_names_are_kept_for_who_reads_the_story():
    program = compile_flow(flow({"name": "the price", "call": "service/price"}), {})
    assert program.stages["start"].name == "the price"
