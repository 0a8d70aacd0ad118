"""`${NAME}` on the node."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint.errors import NotValidError
from arint.resources.canonical import plain
from arint.resources.graph import references_in, still_used
from arint.resources.kinds import Channel, Connection, Flow, Resource, Service, Variables, key_of
from arint.resources.manifests import Text, load_text
from arint.resources.variables import resolve, resolve_resource

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


def names_in(resource: Resource) -> set[str]:
    return {found.target.removeprefix("Variable/") for found in references_in(plain(resource))
            if found.target.startswith("Variable/")}


def mistakes(text: str, tmp_path: Path, *existing: Resource) -> list[str]:
    try:
        load_text(Text("m.yaml", text, tmp_path), existing=existing)
    except NotValidError as error:
        return [str(problem) for problem in error.problems]
    return []


VALUES = Variables(name="here", values={"STOCK_URL": "sqlite:///x.db"})
STOCK = Connection(name="stock", transport="sql", spec={"url": "${STOCK_URL}"})
WRITTEN = """
kind: Variables
name: here
values: {%s}
---
kind: Connection
name: stock
sql: {url: "${STOCK_URL}"}
"""


def test_a_variable_is_declared_before_it_is_named(tmp_path: Path) -> None:
    assert mistakes(WRITTEN % "STOCK_URL: 'sqlite:///x.db'", tmp_path) == []
    (found,) = mistakes(WRITTEN % "STOCK_URI: x", tmp_path)
    assert found == 'm.yaml:8:12: sql.url: there is no Variable "STOCK_URL" (did you mean "STOCK_URI"?)'
    only = WRITTEN.partition("---")[2]
    assert mistakes(only, tmp_path, VALUES) == []


def test_a_variable_is_declared_once(tmp_path: Path) -> None:
    other = "kind: Variables\nname: other\nvalues: {STOCK_URL: y}\n"
    (found,) = mistakes(other, tmp_path, VALUES)
    assert "the variable STOCK_URL is declared already (also in Variables/here)" in found
    (found,) = mistakes("kind: Variables\nname: other\nvalues: {ARINT_DATA: y}\n", tmp_path)
    assert "every node has it" in found


def test_what_is_still_named_stays(tmp_path: Path) -> None:
    present = {key_of(one): one for one in (VALUES, STOCK)}
    assert still_used(present, ["Variables/here"]) == {"Variables/here": ["Connection/stock"]}
    assert still_used(present, ["Variables/here", "Connection/stock"]) == {}
    (found,) = mistakes("kind: Variables\nname: here\nvalues: {X: y}\n", tmp_path, VALUES, STOCK)
    assert "the variable STOCK_URL is still named by Connection/stock" in found


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
