"""What each step does to a message, in memory."""

from __future__ import annotations

import json

import pytest

from arint.errors import MessageError, RejectedError, SystemUnavailableError
from arint.message import Message
from arint.resources.kinds import Flow, Retry
from arint.testing import FlowTest


def through(payload, *steps, services=None, connections=None, flows=None, **known):
    flow = Flow(name="t", steps=list(steps), retry=Retry(attempts=3))
    test = FlowTest(flow, services=services, connections=connections, flows=flows)
    return test.run(payload, **known)


def test_validate_names_places_and_no_values():
    schema = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "n": {"type": "integer"}}}
    assert through({"id": "x"}, {"validate": {"schema": schema}}).failure is None
    failure = through({"n": "secret"}, {"validate": {"schema": schema}}).failure
    assert failure.kind == "rejected"
    assert '"id" is a required property' in failure.message
    assert "n: the value is not of type" in failure.message
    assert "secret" not in failure.message


def test_map_sees_body_headers_variables_and_message():
    run = through({"order": {"id": 7, "lines": [{"qty": 2, "price": 1.5}, {"qty": 1, "price": 4}]}},
                  {"set": {"vars.rate": "2"}},
                  {"map": '{"id": order.id, "total": $sum(order.lines.(qty*price)) * $vars.rate,'
                          ' "by": $headers.by, "channel": $message.channel}'},
                  headers={"by": "me"}, channel="in")
    assert run.value == {"id": 7, "total": 14, "by": "me", "channel": "in"}
    assert run.message.content_type == "application/json"


@pytest.mark.parametrize("expression", ['"a" + 1', '$number("x")', '{"f": $sum}', "$nosuch(1)"])
def test_a_map_that_does_not_fit_rejects(expression):
    assert through({"a": 1}, {"map": expression}).failure.kind == "rejected"


@pytest.mark.parametrize("expression", ["($f:=function($n){$f($n+1)}; $f(0))", "($f:=function($n){1+$f($n+1)}; $f(0))",
                                        "[1..3000000].($ * 2)"])
def test_a_map_that_never_ends_is_ended(expression):
    failure = FlowTest(Flow(name="t", steps=[{"map": expression}], retry=Retry(attempts=1))).run({}).failure
    assert "longer than" in failure.message or "nested too deep" in failure.message


def test_when_takes_one_branch():
    steps = {"when": {"if": "body.total > 1000", "then": [{"set": {"vars.size": "'large'"}}],
                      "else": [{"set": {"vars.size": "'small'"}}]}}
    assert through({"total": 1001}, steps).message.variables == {"size": "large"}
    assert through({"total": 1000.0}, steps).message.variables == {"size": "small"}


def test_a_condition_over_what_is_not_there_rejects_and_says_how():
    failure = through({}, {"when": {"if": "body.total > 1000", "then": [{"log": "x"}]}}).failure
    assert failure.kind == "rejected"
    assert "total" in failure.message and "has(" in failure.message
    failure = through({"a": 1}, {"when": {"if": "body.a", "then": [{"log": "x"}]}}).failure
    assert "neither true nor false" in failure.message


def test_route_takes_the_first_case_that_holds():
    route = {"route": [{"when": "body.n > 10", "then": [{"set": {"vars.at": "'a'"}}]},
                       {"when": "body.n > 5", "then": [{"set": {"vars.at": "'b'"}}]},
                       {"otherwise": [{"set": {"vars.at": "'c'"}}]}]}
    assert [through({"n": n}, route).message.variables["at"] for n in (11, 6, 1)] == ["a", "b", "c"]
    assert through({"n": 1}, {"route": route["route"][:2]}).message.variables == {}


def test_set_sees_the_message_as_it_was_and_sets_all_or_nothing():
    run = through({"a": 1, "b": 2}, {"set": {"body.a": "body.b", "body.b": "body.a", "body.c.d": "'x'", "vars.n": 5,
                                             "headers.X-Kind": "body.a > 0", "headers.gone": None}},
                  headers={"gone": "yes"})
    assert run.value == {"a": 2, "b": 1, "c": {"d": "x"}}
    assert run.message.variables == {"n": 5}
    assert run.message.headers == {"x-kind": "true"}
    failed = through({"a": 1}, {"try": [{"set": {"vars.n": "1", "body.a.b": "2"}}], "catch": [{"log": "x"}]})
    assert failed.message.variables == {} and failed.value == {"a": 1}


def test_set_replaces_the_whole_body_even_one_that_is_no_json():
    assert through(b"not json", {"set": {"body": "{'at': timestamp('2026-01-02T03:04:05Z')}"}}).value == {
        "at": "2026-01-02T03:04:05Z"}


def test_a_header_is_one_line():
    assert "one line" in through({"x": "a\r\nb"}, {"set": {"headers.x": "body.x"}}).failure.message


def test_log_fills_in():
    run = through({"id": 7}, {"log": "order {{ body.id }} from {{headers.by}}"},
                  {"log": {"message": "{{ {'a': 1} }}", "level": "warning"}}, headers={"by": "me"})
    assert run.logs == [("info", "order 7 from me"), ("warning", '{"a":1}')]


def test_call_goes_on_with_what_the_service_returns():
    run = through({"n": 1}, {"call": "service/double"}, {"call": "service/double"},
                  services={"double": lambda order: {"n": order["n"] * 2}})
    assert run.value == {"n": 4}


def test_a_send_leaves_the_body_alone_and_its_key_is_the_same_each_time():
    keys = []

    def flaky(sent):
        keys.append(sent.idempotency_key)
        if len(keys) == 1:
            raise SystemUnavailableError("away")
        return b"answer"

    run = through({"n": 1}, {"log": "x"}, {"send": {"to": "connection/db", "statement": "s", "timeout": "2s"}},
                  connections={"db": flaky})
    assert run.value == {"n": 1}
    assert len(set(keys)) == 1 and len(keys) == 2 and keys[0].endswith("-0-t-1-send-db")
    assert run.sent[0].options == {"statement": "s", "timeout": "2s"}


def test_copies_to_flows_services_and_topics_are_outputs_with_ids_of_their_own():
    run = through({"n": 1}, {"set": {"vars.x": "1"}}, {"send": {"to": "flow/other"}}, {"send": {"to": "topic/a.b"}},
                  {"send": {"to": "service/x"}}, {"send": {"to": "flow/other"}})
    assert [sent.target for sent in run.sent] == ["flow/other", "topic/a.b", "service/x", "flow/other"]
    ids = {sent.message.id for sent in run.sent}
    assert len(ids) == 4 and run.message.id not in ids
    assert all(sent.message.root == run.message.root and sent.message.cause == run.message.id
               and sent.message.variables == {} for sent in run.sent)


def test_callback_goes_where_the_message_says():
    run = through({"n": 1}, {"callback": {"url": "headers['reply-to']", "headers": {"X-N": "{{ body.n }}"}}},
                  headers={"reply-to": "http://caller/done"}, correlation_id="c1")
    (sent,) = run.sent_to("http://caller/done")
    assert sent.headers == {"Content-Type": "application/json", "X-N": "1", "X-Correlation-Id": "c1"}


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "no url", "http://", "http://[x"])
def test_a_callback_to_no_address_is_rejected(url):
    run = through({"n": 1}, {"callback": {"url": "headers.to"}}, headers={"to": url})
    assert run.failure.kind == "rejected" and not run.sent


def test_catch_has_the_error_and_the_failure_is_then_forgotten():
    steps = [{"try": [{"call": "service/bad"}, {"set": {"vars.never": "1"}}],
              "catch": [{"set": {"vars.kind": "error.kind", "vars.stage": "error.stage", "vars.why": "error.message"}},
                        {"call": "service/note"}, {"set": {"vars.still": "error.kind"}}]},
             {"set": {"vars.after": "error == null"}}]
    run = through({"n": 1}, *steps, services={"bad": RejectedError("no"), "note": lambda: None})
    assert run.failure is None and run.message.failure is None
    assert run.message.variables == {"kind": "rejected", "stage": "steps[0].try[0].call", "why": "no",
                                     "still": "rejected", "after": True}


def test_an_effect_is_tried_before_its_catch():
    tries = []

    def bad(order):
        tries.append(order)
        raise MessageError("not now")

    run = through({"n": 1}, {"try": [{"call": "service/bad"}], "catch": [{"log": "caught {{ error.message }}"}]},
                  services={"bad": bad})
    assert len(tries) == 3
    assert run.logs == [("info", "caught not now")]


def test_a_step_after_a_try_is_not_caught_by_it():
    run = through({"n": 1}, {"try": [{"call": "service/ok"}], "catch": [{"log": "caught"}]},
                  {"when": {"if": "body.nothing", "then": [{"log": "x"}]}}, services={"ok": lambda: None})
    assert run.logs == []
    assert run.failure.where == "steps[1].when" and run.failed_in == "start"


def test_a_failing_catch_goes_to_the_catch_around_it():
    inner = {"try": [{"call": "service/bad"}], "catch": [{"call": "service/worse"}]}
    run = through({"n": 1}, {"try": [inner], "catch": [{"log": "{{ error.message }}"}]},
                  services={"bad": RejectedError("bad"), "worse": RejectedError("worse")})
    assert run.logs == [("info", "worse")] and run.failure is None


@pytest.mark.parametrize(("body", "why"), [
    (b"", "empty"), (b"  ", "empty"), (b"{", "not JSON"), (b'{"a":"\xff"}', "not"), (b"[" * 100_000 + b"]" * 100_000,
                                                                                "deep"),
    (b"[" * 100_000, "deep"), (b"[1]]", "not JSON"), (b"\xef\xbb\xbf{}", "not JSON"), (b"1e999", "not JSON"),
])
@pytest.mark.parametrize("step", [{"validate": {"schema": {}}}, {"map": "a"}, {"set": {"body.x": "1"}},
                                  {"when": {"if": "body.x == 1", "then": [{"log": "y"}]}}])
def test_bodies_that_are_no_json_are_rejected_with_the_place(body, why, step):
    failure = through(body, {"log": "begins"}, step).failure
    assert failure.kind == "rejected" and why in failure.message and failure.where.startswith("steps[1].")


def test_a_flow_that_never_asks_for_json_carries_any_bytes():
    run = through(b"\xff\x00 not json", {"set": {"headers.x": "'1'"}}, {"send": {"to": "connection/db"}})
    assert run.message.body == b"\xff\x00 not json" and run.failure is None


def test_bytes_are_not_rewritten_unless_a_step_changes_the_body():
    body = b'{ "a" : 1.0 }'
    run = through(body, {"validate": {"schema": {}}}, {"when": {"if": "body.a > 0.5", "then": [{"log": "x"}]}})
    assert run.message.body == body


def test_large_whole_numbers_survive():
    run = through(b'{"n": 9007199254740993, "m": 1}', {"set": {"body.m": "2"}})
    assert json.loads(run.message.body) == {"n": 9007199254740993, "m": 2}


def test_the_input_is_never_changed():
    message = Message.new(b'{"a":1}', headers={"h": "1"})
    before = message.__copy__()
    through(message, {"set": {"body.a": "2", "headers.h": "'2'", "vars.x": "1"}})
    assert message == before
