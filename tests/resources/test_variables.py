"""`${NAME}` on the node."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint.errors import NotValidError
from arint.resources.kinds import Channel, Connection, Flow, Service
from arint.resources.variables import names_in, resolve, resolve_resource

DATABASE = Connection(name="db", transport="sql", spec={
    "url": "sqlite:///${ARINT_DATA}/x.db", "setup": ["${A}${B}", 1]})


def test_every_text_in_a_spec_is_resolved() -> None:
    found = resolve_resource(DATABASE, {"ARINT_DATA": "/data", "A": "a", "B": "${A}"})
    assert found.spec == {"url": "sqlite:////data/x.db", "setup": ["a${A}", 1]}, "a value is not looked at again"
    assert DATABASE.spec["url"] == "sqlite:///${ARINT_DATA}/x.db"


def test_a_dollar_before_it_keeps_the_text() -> None:
    assert resolve("$${A} ${A} $A ${ A } ${1}", {"A": "x"}) == "${A} x $A ${ A } ${1}"


def test_what_is_not_declared_is_named_with_its_place() -> None:
    said = r"Connection/db sql.url: the variable ARINT_DATA .*did you mean \"ARINT_DATE\""
    with pytest.raises(NotValidError, match=said):
        resolve_resource(DATABASE, {"ARINT_DATE": "x", "A": "", "B": ""})


def test_the_names_a_resource_needs() -> None:
    assert names_in(DATABASE) == {"ARINT_DATA", "A", "B"}
    assert names_in(Service(name="s", source="p.py:p", config={"a": ["${X}", "$${Y}"]})) == {"X"}
    assert names_in(Channel(name="c", to="flow/f", transport="http", spec={"path": "/${P}"})) == {"P"}


def test_flows_are_left_alone() -> None:
    flow = Flow(name="f", steps=[{"map": "${A}"}])
    assert resolve_resource(flow, {}) is flow
    assert names_in(flow) == set()


@given(st.text().filter(lambda text: "${" not in text))
def test_other_text_stays(text: str) -> None:
    assert resolve(text, {}) == text
