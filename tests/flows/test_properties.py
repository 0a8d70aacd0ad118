"""Properties of the compiler and the runner: a program does what its steps say, stage by stage, and again the same."""

from __future__ import annotations

import asyncio
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from arint.errors import RejectedError
from arint.flows import Output, Reply, compile_flow, on_failure, run_stage
from arint.flows.json_text import parse_json, write_json
from arint.message import Failure, Message
from arint.resources.kinds import Flow

BAD_MAP = {"map": '"a" + 1'}
FLAWS = ("good-a", "good-b", "bad")


def _step(inner):
    marks = st.integers(0, 9)
    lists = st.lists(inner, min_size=1, max_size=3)
    condition = st.sampled_from(["size(body) % 2 == 0", "size(body) > 3", "true", "false"])
    return st.one_of(
        marks.map(lambda mark: {"map": f"$append($, {mark})"}),
        st.sampled_from(FLAWS).map(lambda name: {"call": f"service/{name}"}),
        st.just(BAD_MAP),
        st.just({"send": {"to": "flow/other"}}),
        st.builds(lambda c, a, b: {"when": {"if": c, "then": a, "else": b}}, condition, lists,
                  st.lists(inner, max_size=2)),
        st.builds(lambda c, a, b: {"route": [{"when": c, "then": a}, {"otherwise": b}]}, condition, lists, lists),
        st.builds(lambda a, b: {"try": a, "catch": b}, lists, lists))


guarded = st.sampled_from([{"call": "service/good-b"}, {"call": "service/bad"}]).map(
    lambda step: {"try": [step], "catch": [{"map": "$append($, 7)"}]})
plain = st.sampled_from([{"map": "$append($, 1)"}, {"call": "service/good-a"}, {"call": "service/bad"}, BAD_MAP]
                        ) | guarded
flows = st.lists(st.recursive(plain, _step, max_leaves=12), min_size=1, max_size=5).map(
    lambda steps: Flow(name="t", steps=steps))


def _holds(condition, body):
    return {"size(body) % 2 == 0": len(body) % 2 == 0, "size(body) > 3": len(body) > 3,
            "true": True, "false": False}[condition]


def meant(steps, body, sent):
    """What the steps say, told by a walk over their tree. Raises RejectedError with the body as it was then."""
    for step in steps:
        if "map" in step:
            if "append" not in step["map"]:
                raise RejectedError("map")
            body.append(int(step["map"][-2]))
        elif "call" in step:
            if step["call"] == "service/bad":
                raise RejectedError("call")
            body.append(step["call"])
        elif "send" in step:
            sent.append(list(body))
        elif "when" in step:
            meant(step["when"]["then" if _holds(step["when"]["if"], body) else "else"], body, sent)
        elif "route" in step:
            first, last = step["route"]
            meant(first["then"] if _holds(first["when"], body) else last["otherwise"], body, sent)
        else:
            try:
                meant(step["try"], body, sent)
            except RejectedError:
                meant(step["catch"], body, sent)


class World:
    async def call(self, service, message, idempotency_key, timeout):
        if service == "bad":
            raise RejectedError("bad")
        message = message.__copy__()
        message.body = write_json([*parse_json(message.body), f"service/{service}"])
        return Reply(message)

    async def send(self, *_):
        raise AssertionError

    async def callback(self, *_):
        raise AssertionError

    def log(self, *_):
        raise AssertionError


async def walk(program, message):
    """All stages, each run twice as after a crash; returns the last body, what was sent, and whether it died."""
    following, sent, seen = Output("t", "start", message), [], []
    while following is not None:
        assert following.stage not in seen, "a stage comes once"
        seen.append(following.stage)
        try:
            result, again = [await run_stage(program, following.stage, following.message, World()) for _ in "12"]
            assert result == again
        except RejectedError as error:
            where = getattr(error, "arint_step", "") or following.stage
            given, following = following, on_failure(program, following.stage, following.message,
                                                     Failure("rejected", "x", where))
            if following is None:
                return parse_json(given.message.body), sent, True
            continue
        message = result.message
        sent += [parse_json(output.message.body) for output in result.outputs if output.flow == "other"]
        following = None if result.ended else result.outputs[-1]
    return parse_json(message.body), sent, False


@settings(max_examples=300)
@given(flows)
def test_a_program_does_what_its_steps_say(flow):
    program = compile_flow(flow, {})
    body, sent, dead = asyncio.run(walk(program, Message.new(b"[0,0]")))
    expected_body, expected_sent, expected_dead = [0, 0], [], False
    try:
        meant(flow.steps, expected_body, expected_sent)
    except RejectedError:
        expected_dead = True
    assert dead == expected_dead
    assert expected_sent[:len(sent)] == sent
    if not dead:
        assert body == expected_body
        assert sent == expected_sent


@given(flows)
def test_tokens_are_unique_stable_and_fit_a_subject(flow):
    program, again = compile_flow(flow, {}), compile_flow(flow, {})
    assert list(program.stages.values()) == list(again.stages.values())
    for token, stage in program.stages.items():
        assert re.fullmatch(r"[a-z0-9-]+", token) and stage.token == token
        assert stage.handler in ("", *program.stages)
        first = program.instructions[stage.at]
        assert (first.kind == "effect") == (stage.kind != "pure")
        if first.kind == "effect":
            assert first.token == token
    effects = [instruction for instruction in program.instructions if instruction.kind == "effect"]
    assert len({instruction.token for instruction in effects}) == len(effects)


@given(flows, flows)
def test_steps_added_at_the_end_change_no_token_before_them(flow, more):
    longer = Flow(name="t", steps=[*flow.steps, *more.steps])
    assert set(compile_flow(flow, {}).stages) <= set(compile_flow(longer, {}).stages)
