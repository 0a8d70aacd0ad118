"""The `query` step: what it says, where the answer goes, and what is refused at apply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arint.errors import NotValidError
from arint.flows import check_steps
from arint.resources.graph import still_used
from arint.resources.kinds import Flow
from arint.resources.manifests import Text, load_text
from arint.testing import FlowTest
from plugins.sql.wording import only_reads, parameters_of

WAREHOUSE = 'kind: Connection\nname: warehouse\nsql: {url: "sqlite:///w.db"}\n'
CRM = "kind: Connection\nname: crm\nhttp: {url: https://crm.example.com}\n"


def flow(**query: Any) -> Flow:
    return Flow(name="f", steps=[{"query": {"from": "connection/warehouse", "statement": "select 1", **query}}])


@pytest.mark.parametrize(("into", "expected"), [
    ("body", [{"n": 1}]), ("body.stock", {"a": {"b": 0}, "stock": [{"n": 1}]}),
    ("body.a.c", {"a": {"b": 0, "c": [{"n": 1}]}}), ("vars.stock", {"a": {"b": 0}})])
def test_where_the_answer_goes(into: str, expected: Any) -> None:
    run = FlowTest(flow(into=into, params={"a": "body.a.b"}), connections={"warehouse": [{"n": 1}]}).run(
        {"a": {"b": 0}})
    assert run.value == expected
    assert run.message.variables == ({"stock": [{"n": 1}]} if into == "vars.stock" else {})
    [asked] = run.sent_to("connection/warehouse")
    assert asked.options == {"statement": "select 1", "params": {"a": "body.a.b"}, "rows": "all"}


def test_an_answer_that_has_no_place_rejects_the_message() -> None:
    run = FlowTest(flow(into="body.a.b"), connections={"warehouse": 1}).run({"a": 7})
    assert run.failure is not None
    assert "no object" in run.failure.message


@pytest.mark.parametrize(("query", "told"), [
    ({"from": "flow/x"}, "connection/NAME"), ({"into": "headers.x"}, "body.NAME or vars.NAME"),
    ({"row": "one"}, 'unknown key "row"'), ({"limit": 0}, "at least 1"), ({"rows": "some"}, "not allowed")])
def test_what_is_not_valid_is_told(query: dict[str, Any], told: str) -> None:
    steps = [{"query": {"from": "connection/warehouse", "statement": "select 1", **query}}]
    assert any(told in problem.message + problem.suggestion for problem in check_steps(steps))


def test_it_needs_a_database(tmp_path: Path) -> None:
    written = "---\n".join([CRM, WAREHOUSE, "kind: Flow\nname: f\nsteps:\n- query: {from: connection/crm, "
                            "statement: select 1}\n- query: {from: connection/warehous, statement: select 1}\n"])
    with pytest.raises(NotValidError) as caught:
        load_text(Text("f.yaml", written, tmp_path))
    told = "\n".join(map(str, caught.value.problems))
    assert "connection/crm has another transport (it must be one with the key sql)" in told.lower()
    assert "warehouse" in told


def test_a_database_that_is_asked_is_not_deleted(tmp_path: Path) -> None:
    written = "---\n".join([WAREHOUSE, "kind: Flow\nname: f\nsteps:\n- query: {from: connection/warehouse, "
                            "statement: select 1}\n"])
    resources = {one.key: one.resource for one in load_text(Text("f.yaml", written, tmp_path))}
    assert still_used(resources, ["Connection/warehouse"]) == {"Connection/warehouse": ["Flow/f"]}


@pytest.mark.parametrize(("statement", "reads"), [
    ("select * from a", True), ("  -- a comment\n /* and\n another */ (SELECT 1)", True), ("values (1)", True),
    ("with a as (select 1) select * from a", True), ("with a as (select 'insert into') select * from a", True),
    ("with a as (delete from b returning *) select * from a", False), ("insert into a values (1)", False),
    ("call p(:a)", False), ("", False), ("update a set b = 1", False)])
def test_what_only_reads(statement: str, reads: bool) -> None:
    assert only_reads(statement) is reads


def test_parameters() -> None:
    assert parameters_of("select :a, b::text, :c_1, :a where d = '12\\:30'") == ["a", "c_1"]
