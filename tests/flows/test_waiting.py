"""`delay`, `throttle` and `enrich`, in memory."""

from __future__ import annotations

import datetime
import time

import pytest

from arint.errors import RejectedError
from arint.flows import check_steps, compile_flow
from arint.flows.steps.waiting import moment
from arint.resources.kinds import Flow, Retry
from arint.testing import FlowTest


def flow(*steps):
    return Flow(name="t", steps=list(steps), retry=Retry(attempts=2))


def test_a_delay_tells_a_test_how_long_it_would_have_taken():
    later = datetime.datetime.fromtimestamp(time.time() + 60, datetime.UTC).isoformat()
    run = FlowTest(flow({"delay": "5m"}, {"delay": {"until": "body.at"}}, {"log": "x"})).run({"at": later})
    assert run.delays[0] == pytest.approx(300, abs=1) and run.delays[1] == pytest.approx(60, abs=2)
    assert run.values == [{"at": later}]


def test_moments():
    at = datetime.datetime(2026, 5, 1, 12, tzinfo=datetime.UTC)
    assert moment("2026-05-01T12:00:00Z", "x") == moment(at, "x") == moment(at.timestamp(), "x")
    assert moment("2026-05-01T14:00:00+02:00", "x") == at.timestamp()
    for wrong in ("tomorrow", True, None, [], 1e300, float("nan") and {}):
        with pytest.raises(RejectedError):
            moment(wrong, "x")


def test_a_message_without_a_moment_is_a_dead_letter():
    assert FlowTest(flow({"delay": {"until": "body.at"}})).run({"at": "soon"}).failure.kind == "rejected"


@pytest.mark.parametrize(("step", "path", "words"), [
    ({"delay": "5 minutes"}, (0, "delay"), "5m"),
    ({"delay": {}}, (0, "delay"), "exactly one"),
    ({"delay": {"for": "1s", "until": "body.x"}}, (0, "delay"), "exactly one"),
    ({"delay": {"until": "bdy.x"}}, (0, "delay", "until"), 'did you mean "body"'),
    ({"throttle": "0/s"}, (0, "throttle"), "10/s"),
    ({"throttle": {"rate": "1/s", "by": "1 +"}}, (0, "throttle", "by"), "CEL"),
    ({"throttle": {"rate": "1/s", "brust": 2}}, (0, "throttle", "brust"), 'did you mean "burst"'),
    ({"filter": "body.x >"}, (0, "filter"), "CEL"),
    ({"split": {"each": "bdy"}}, (0, "split", "each"), 'did you mean "body"'),
    ({"split": {"each": "body", "batch": 0}}, (0, "split", "batch"), "at least 1"),
    ({"multicast": []}, (0, "multicast"), "at least"),
    ({"multicast": [[{"lgo": "x"}]]}, (0, "multicast", 0, 0, "lgo"), 'did you mean "log"'),
    ({"enrich": {"into": "vars.x"}}, (0, "enrich"), "service/NAME or connection/NAME"),
    ({"enrich": {"from": "flow/x", "into": "vars.x"}}, (0, "enrich", "from"), "service/NAME or connection/NAME"),
    ({"enrich": {"from": "service/x"}}, (0, "enrich"), "into: vars.NAME"),
    ({"enrich": {"from": "service/x", "into": "var.x"}}, (0, "enrich", "into"), "cannot be set"),
    ({"enrich": {"from": "service/x", "into": "body", "path": "/"}}, (0, "enrich", "path"), "a service takes"),
    ({"enrich": {"from": "service/x", "into": "body", "ask": "1 +"}}, (0, "enrich", "ask"), "CEL"),
    ({"send": {"to": "flow/x", "into": "body"}}, (0, "send", "into"), "only a connection answers"),
])
def test_mistakes_are_told_at_their_place(step, path, words):
    found = {problem.path: f"{problem.message} {problem.suggestion}" for problem in check_steps([step])}
    assert words in found[path], found


def test_a_throttle_paces_the_effect_that_follows_it():
    program = compile_flow(flow({"log": "x"}, {"throttle": "5/s"}, {"send": {"to": "connection/c"}}), {})
    assert set(program.stages) == {"start", "2-send-c"} and set(program.paces) == {"2-send-c"}
    program = compile_flow(flow({"throttle": "5/s"}, {"send": {"to": "connection/c"}}), {})
    assert set(program.stages) == set(program.paces) == {"start"}
    assert program.stages["start"].target == "connection/c"
    program = compile_flow(flow({"split": "body"}, {"throttle": "5/s"}, {"send": {"to": "connection/c"}}), {})
    assert set(program.stages) == {"start", "2-send-c"} and set(program.paces) == {"2-send-c"}


def test_a_throttle_before_anything_else_is_a_stage_of_its_own():
    program = compile_flow(flow({"log": "x"}, {"throttle": "5/s"}, {"call": "service/x"}), {})
    assert set(program.stages) == {"start", "1-throttle", "2-call-x"} and set(program.paces) == {"1-throttle"}
    jumped = {"when": {"if": "true", "then": [{"log": "x"}], "else": [{"throttle": "5/s"}]}}
    program = compile_flow(flow(jumped, {"send": {"to": "connection/c"}}), {})
    assert set(program.paces) == {"0e0-throttle"}


def test_an_answer_is_put_where_the_step_says():
    run = FlowTest(flow({"enrich": {"from": "service/stock", "ask": "body.sku", "into": "body.stock.now"}},
                        {"enrich": {"from": "connection/db", "statement": "select", "into": "vars.rows"}},
                        {"send": {"to": "connection/crm", "into": "headers.x-crm"}}, {"log": "{{ vars.rows[0].n }}"}),
                   services={"stock": lambda sku: {"of": sku}},
                   connections={"db": [{"n": 7}], "crm": b"not json"}).run({"sku": "a"})
    assert run.failure is None
    assert run.value == {"sku": "a", "stock": {"now": {"of": "a"}}}
    assert run.message.headers["x-crm"] == "not json" and run.logs == [("info", "7")]
    assert run.sent_to("connection/db")[0].options == {"statement": "select"}
    assert run.sent_to("connection/crm")[0].options == {}


def test_no_answer_is_null():
    run = FlowTest(flow({"enrich": {"from": "connection/db", "into": "body.x"}})).run({})
    assert run.value == {"x": None}
