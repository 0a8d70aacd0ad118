"""Who refers to whom."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from arint.resources import graph
from arint.resources.kinds import Channel, Connection, Flow, Resource, Secret, Service, key_of

CHANNEL = Channel(name="in", to="flow/f", transport="http", spec={"auth": {"api_key": {"secret": "key"}}})
CONNECTION = Connection(name="db", transport="sql", spec={"password": {"secret": "pw"}, "list": [{"secret": "two"}]})
SERVICE = Service(name="price", source="p.py:p", secrets=["key"], config={"secret": "not one"})
FLOW = Flow(name="f", steps=[
    {"validate": {"schema": {"properties": {"call": {"secret": "x"}}}}},
    {"when": {"if": "true", "then": [{"call": "service/price"}], "else": [{"call": "flow/g"}]}},
    {"route": [{"when": "true", "then": [{"send": {"to": "connection/db", "statement": "x"}}]}]},
    {"try": [{"send": {"to": "topic/t"}}], "catch": [{"send": {"to": "flow/g"}}]},
    {"set": {"body.call": "service/nothing"}},
    {"callback": {"url": "x", "headers": {"authorization": {"secret": "pw"}}}},
])
ALL: dict[str, Resource] = {key_of(resource): resource for resource in (CHANNEL, CONNECTION, SERVICE, FLOW)}


def test_references_of_every_kind() -> None:
    assert [found.target for found in graph.references(CHANNEL)] == ["Flow/f", "Secret/key"]
    assert graph.secrets_of(CONNECTION) == {"pw", "two"}
    assert graph.secrets_of(SERVICE) == {"key"}
    assert [found.target for found in graph.references(FLOW)] == [
        "Service/price", "Flow/g", "Connection/db", "Flow/g", "Secret/pw"]
    assert graph.references(Secret(name="key")) == []


def test_a_reference_knows_its_path_and_its_options() -> None:
    found = graph.references(FLOW)[2]
    assert found.path == ("steps", 2, "route", 0, "then", 0, "send", "to")
    assert found.options == {"to": "connection/db", "statement": "x"}


def test_a_delete_is_refused_for_what_stays_in_use() -> None:
    assert graph.still_used(ALL, ["Service/price"]) == {"Service/price": ["Flow/f"]}
    assert graph.still_used(ALL, ["Service/price", "Flow/f"]) == {"Flow/f": ["Channel/in"]}
    assert graph.still_used(ALL, list(ALL)) == {}


def _cycles(edges: dict[str, list[str]]) -> list[tuple[str, ...]]:
    return graph.cycles({f"Flow/{key}": [graph.Reference((), f"Flow/{target}") for target in targets]
                         for key, targets in edges.items()})


def test_cycles() -> None:
    assert _cycles({"a": ["b"], "b": ["c", "a"], "c": ["a"], "d": ["a"]}) == [
        ("Flow/a", "Flow/b", "Flow/a"), ("Flow/c", "Flow/a", "Flow/b", "Flow/c")]
    assert _cycles({"a": ["gone"], "b": ["a"]}) == []


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=4)))
def test_a_cycle_is_found_if_and_only_if_there_is_one(edges: dict[str, list[str]]) -> None:
    left = {key: set(targets) & set(edges) for key, targets in edges.items()}
    while ready := [key for key, targets in left.items() if not targets]:
        left = {key: targets - set(ready) for key, targets in left.items() if key not in ready}
    found = _cycles(edges)
    assert bool(found) == bool(left)
    for cycle in found:
        assert cycle[0] == cycle[-1]
        assert all(after[5:] in edges[before[5:]] for before, after in pairwise(cycle))


def test_a_long_chain_is_no_recursion() -> None:
    chain = {str(n): [str(n + 1)] for n in range(3000)}
    assert _cycles({"0": ["1"], **{key: chain[key] for key in chain if key != "0"}, "3000": ["0"]})
