"""CEL in steps: handing over only what is spoken of changes no result; a plugin's steps are steps like any."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint import plugins
from arint.errors import RejectedError
from arint.flows import PureStep, State, StepError, check_steps
from arint.flows.expressions import Template, expression
from arint.flows.json_text import write_json
from arint.message import Message
from arint.resources.kinds import Flow
from arint.testing import FlowTest

SOURCES = [
    "body.a", "body.a + body.b", "body . a", "has(body.a)", "has(body.a) && body.b > 1", "body.size()", "size(body)",
    "body['a']", "body.a.size()", "body.xs.map(x, x + 1)", "body.xs.exists(body, body > 1)",
    "'body.zz' + string(body.a)",
    "body.a > 1 ? body.b : body.xs[0]", "headers.body", "vars.body.a", "body.all(k, k != 'zz')", "'a' in body",
    "body.sizes", "body == body", "[body.a, body].size()",
]


def evaluated(source, state):
    try:
        return expression(source).evaluate(state)
    except RejectedError:
        return "rejected"


@given(st.sampled_from(SOURCES), st.dictionaries(st.sampled_from(["a", "b", "xs", "zz", "sizes"]),
                                                 st.integers(-5, 5) | st.just([1, 2]), max_size=5))
def test_only_what_is_spoken_of_is_handed_over_with_the_same_result(source, body):
    import cel

    state = State(Message(headers={"body": "h"}, variables={"body": {"a": 1}}), "t", "start", None)
    state.body = body
    whole = {"body": body, "headers": {"body": "h"}, "vars": {"body": {"a": 1}}}
    try:
        expected = cel.evaluate(source, whole)
    except Exception:
        expected = "rejected"
    assert evaluated(source, state) == expected


@pytest.mark.parametrize("text", ["", "plain", "{{ body.a }}", "a {{ body.a }} b {{ body.b }}{{ body.a }} {", "{{}}"])
def test_templates(text):
    state = State(Message(body=b'{"a":1,"b":"x"}'), "t", "start", None)
    if text == "{{}}":
        with pytest.raises(StepError):
            Template(text)
        return
    assert Template(text).fill(state) == text.replace("{{ body.a }}", "1").replace("{{ body.b }}", "x")


@given(st.dictionaries(st.text(max_size=3), st.dictionaries(st.text(max_size=3), st.integers(0, 9))))
def test_a_map_comes_out_in_one_order(body):
    wanted = {key: dict(sorted(inner.items())) for key, inner in sorted(body.items())}
    state = State(Message(), "t", "start", None)
    state.body = body
    assert [Template("{{ body }} {{ [body] }}").fill(state) for _ in range(3)] == [
        f"{write_json(wanted).decode()} {write_json([wanted]).decode()}"] * 3


def test_cel_errors_are_rejections():
    state = State(Message(body=b'{"a":1,"s":"x"}'), "t", "start", None)
    for source in ("1 / 0", "body.a + body.s", "int(body.s)", "body.s.matches('(')", "vars.x", "error.kind",
                   "9223372036854775807 + body.a", "body.nothing.more"):
        assert evaluated(source, state) == "rejected", source


class Shout(PureStep):
    """A step as a plugin adds it."""

    key: ClassVar[str] = "shout"
    Spec: ClassVar[Any] = dict[str, str]

    def __init__(self, spec):
        if "field" not in spec:
            raise StepError("no field", ("field",))
        self._field = spec["field"]

    def apply(self, state):
        state.body = {**state.body, self._field: state.body[self._field].upper()}


@pytest.fixture
def with_shout(monkeypatch):
    core = plugins.installed()["core"]
    added = {"core": core, "loud": plugins.Plugin(name="loud", summary="x", steps=(Shout,))}
    monkeypatch.setattr(plugins, "installed", lambda: added)
    plugins.step_types.cache_clear()
    yield
    plugins.step_types.cache_clear()


def test_a_plugins_step(with_shout):
    run = FlowTest(Flow(name="t", steps=[{"shout": {"field": "a"}}])).run({"a": "x"})
    assert run.value == {"a": "X"}
    failure = FlowTest(Flow(name="t", steps=[{"shout": {"field": "b"}}])).run({"a": "x"}).failure
    assert failure.kind == "KeyError"
    assert [problem.path for problem in check_steps([{"shout": {}}])] == [(0, "shout", "field")]
