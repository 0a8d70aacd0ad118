"""Every mistake in a flow is found at once, at its place."""

from __future__ import annotations

import pytest

from arint.flows import check_steps


def found(*steps):
    return {problem.path: f"{problem.message} {problem.suggestion}".strip() for problem in check_steps(list(steps))}


def test_right_flows_have_no_problems():
    assert not found({"validate": {"schema": {"type": "object"}}, "name": "check", "retry": {"attempts": 1}},
                     {"map": {"expr": "a.b"}}, {"map": "a"}, {"call": "flow/x"}, {"log": {"message": "x"}},
                     {"send": {"to": "connection/x", "anything": [1]}}, {"callback": {"url": "headers.x"}},
                     {"when": {"if": "has(body.x) && message.attempt > 1", "then": [{"log": "x"}]}},
                     {"when": {"if": "body.xs.map(x, x + 1).exists(y, y > int(vars.n))", "then": [{"log": "x"}]}},
                     {"route": [{"when": "true", "then": []}, {"otherwise": [{"log": "x"}]}]},
                     {"try": [{"log": "x"}], "catch": [{"log": "{{ error.kind }}"}]})


@pytest.mark.parametrize(("step", "path", "words"), [
    ({"mapp": "x"}, (0, "mapp"), 'did you mean "map"'),
    ({}, (0,), "nothing to do"),
    ({"name": "x"}, (0,), "nothing to do"),
    ("log", (0,), "a step is a mapping"),
    ({"log": "x", "map": "y"}, (0, "map"), "stands here already"),
    ({"log": "x", "catch": []}, (0, "catch"), "unknown key"),
    ({"log": 5}, (0, "log"), "must be"),
    ({"log": {"message": "x", "name": "y"}}, (0, "log", "name"), "it stands beside log, not below it"),
    ({"callback": {"url": "headers.x", "allow": ["${URL}/x"]}}, (0, "callback", "allow", 0), "variables are not"),
    ({"name": 5, "log": "x"}, (0, "name"), "must be text"),
    ({"retry": {"attempts": 0}, "log": "x"}, (0, "retry", "attempts"), "at least 1"),
    ({"retry": {"attemps": 1}, "log": "x"}, (0, "retry", "attemps"), 'did you mean "attempts"'),
    ({"map": '{"a": '}, (0, "map"), "not a JSONata expression: line 1"),
    ({"map": {"expr": "("}}, (0, "map", "expr"), "not a JSONata expression"),
    ({"map": {"file": "x"}}, (0, "map"), "was not read"),
    ({"map": "(" * 5000}, (0, "map"), "JSONata"),
    ({"validate": {"schema": {"type": "objct"}}}, (0, "validate", "schema"), "not a JSON Schema"),
    ({"validate": {"schema": {"$ref": "http://127.0.0.1:1/x"}}}, (0, "validate", "schema"), "not a JSON Schema"),
    ({"validate": {"schema": "x.json"}}, (0, "validate", "schema"), "was not read"),
    ({"validate": {}}, (0, "validate"), "missing"),
    ({"when": {"if": "body.x >", "then": [{"log": "x"}]}}, (0, "when", "if"), "column"),
    ({"when": {"if": "bdy.x > 1", "then": [{"log": "x"}]}}, (0, "when", "if"), 'did you mean "body"'),
    ({"when": {"if": "(" * 3000, "then": [{"log": "x"}]}}, (0, "when", "if"), "CEL"),
    ({"when": {"if": "true", "then": {"log": "x"}}}, (0, "when", "then"), "must be a list"),
    ({"route": [{"otherwise": []}, {"when": "true", "then": []}]}, (0, "route", 0), "last case"),
    ({"route": [{"then": []}]}, (0, "route", 0), '"when" is missing'),
    ({"set": {"body.x": "1 +"}}, (0, "set", "body.x"), "CEL"),
    ({"set": {"header.x": "1"}}, (0, "set", "header.x"), "cannot be set"),
    ({"set": {"vars": "1"}}, (0, "set", "vars"), "cannot be set"),
    ({"set": {}}, (0, "set"), "nothing is set"),
    ({"call": "price"}, (0, "call"), "service/NAME or flow/NAME"),
    ({"call": "topic/x"}, (0, "call"), "service/NAME or flow/NAME"),
    ({"send": {"path": "/"}}, (0, "send"), "connection/NAME"),
    ({"send": {"to": "x"}}, (0, "send", "to"), "connection/NAME"),
    ({"callback": {"url": "1 +"}}, (0, "callback", "url"), "CEL"),
    ({"callback": {"url": "headers.x", "headers": {"A": "{{ }}"}}}, (0, "callback", "headers", "A"), "CEL"),
    ({"log": "{{ nope.x }}"}, (0, "log"), 'unknown name "nope"'),
    ({"try": [{"log": "x"}]}, (0,), '"catch" is missing'),
])
def test_a_mistake_is_found_at_its_place(step, path, words):
    problems = found(step)
    assert path in problems, problems
    assert words in problems[path]


def test_all_mistakes_are_found_at_once_also_inside_of_wrong_steps():
    problems = found({"when": {"if": "1 +", "then": [{"mapp": "x"}, {"call": "x"}], "els": []}},
                     {"route": [{"when": "2 +", "then": [{"log": 1}]}, {"when": "3 +", "then": []}]},
                     {"try": [{"map": "("}], "catch": [{"set": {"a": "1", "b": "2"}}]})
    assert set(problems) >= {(0, "when", "then", 0, "mapp"), (0, "when", "then", 1, "call"), (0, "when", "els"),
                             (1, "route", 0, "when"), (1, "route", 1, "when"), (1, "route", 0, "then", 0, "log"),
                             (2, "try", 0, "map"), (2, "catch", 0, "set", "a"), (2, "catch", 0, "set", "b")}


def test_steps_nested_without_end_are_refused():
    steps = [{"log": "x"}]
    for _ in range(90):
        steps = [{"when": {"if": "true", "then": steps}}]
    assert any("nested more than" in problem.message for problem in check_steps(steps))


@pytest.mark.parametrize("nonsense", [None, 1, "x", {}, [None], [[[]]], [{"when": None}], [{"route": None}],
                                      [{"route": [None, 1]}], [{"try": None, "catch": 3}], [{1: 2}], [{"set": [1]}]])
def test_nonsense_is_a_problem_never_an_error(nonsense):
    assert check_steps(nonsense)
