"""What is counted arrives at Prometheus as it was meant, under names by its rules, and within bounds."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from arint.meters import families, snapshot
from arint.meters.exposition import text
from arint.meters.meter import FAMILIES, MOST_SERIES, OTHER, Counter, Gauge, Histogram
from arint.meters.snapshot import Point, Snapshot
from nodeagent import measuring

UNITS = ("_seconds", "_bytes", "_info", "_total")
COUNTS = {"arint_stage_messages_waiting", "arint_messages_in_flight", "arint_node_ready", "arint_change_set",
          "arint_engine_up", "arint_worker_ready", "arint_circuit_open"}
"""Gauges of things, which have no unit."""


@pytest.fixture(autouse=True)
def _forget_what_tests_make() -> Iterator[None]:
    known = dict(FAMILIES)
    yield
    FAMILIES.clear()
    FAMILIES.update(known)


def read(*found: Snapshot) -> dict[str, float]:
    """Each sample by its name and labels."""
    return {f"{sample.name}{sorted(sample.labels.items())}": sample.value
            for family in text_string_to_metric_families(text(found)) for sample in family.samples}


def every_family() -> dict[str, tuple[str, str, tuple[str, ...]]]:
    mine = {name: (family.kind, family.help, family.labels) for name, family in vars(families).items()
            if isinstance(family, Counter | Gauge | Histogram)}
    return {FAMILIES_BY_VARIABLE[name]: told for name, told in mine.items()} | dict(measuring.FAMILIES)


FAMILIES_BY_VARIABLE = {variable: family.name for variable, family in vars(families).items()
                        if isinstance(family, Counter | Gauge | Histogram)}


@pytest.mark.parametrize("name", sorted(every_family()))
def test_names_follow_prometheus(name: str) -> None:
    kind, told, labels = every_family()[name]
    assert re.fullmatch(r"arint_[a-z]+(_[a-z]+)*", name)
    assert (kind == "counter") == name.endswith("_total")
    assert name.endswith(UNITS) or name in COUNTS
    assert not re.search(r"_(count|sum|bucket|ms|millis|milliseconds|kb|mib)$", name)
    assert told.endswith(".") and "\n" not in told
    assert not {"instance", "job", "le", "quantile", "name"} & set(labels)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", label) for label in labels)


def test_a_histogram_counts_what_is_at_most_its_bound() -> None:
    seen = Histogram("arint_test_seconds", "How long.", ("where",), bounds=(0.1, 1.0))
    for value in (0.0, 0.1, 0.11, 1.0, 7.0):
        seen.at("here").observe(value)
    found = read(seen.snapshot())
    assert found["arint_test_seconds_bucket[('le', '0.1'), ('where', 'here')]"] == 2
    assert found["arint_test_seconds_bucket[('le', '1'), ('where', 'here')]"] == 4
    assert found["arint_test_seconds_bucket[('le', '+Inf'), ('where', 'here')]"] == 5
    assert found["arint_test_seconds_count[('where', 'here')]"] == 5
    assert found["arint_test_seconds_sum[('where', 'here')]"] == pytest.approx(8.21)


def test_a_gauge_shows_only_what_is_there_now() -> None:
    waiting = Gauge("arint_test_waiting", "What waits.", ("flow",))
    waiting.replace({("a",): 3.0, ("b",): 1.0})
    waiting.replace({("b",): 2.0})
    assert read(waiting.snapshot()) == {"arint_test_waiting[('flow', 'b')]": 2.0}


def test_one_family_of_several_workers_stands_once() -> None:
    counted = Counter("arint_test_total", "Things.", ("flow",))
    counted.at("orders").add(2)
    both = [counted.snapshot().labelled(worker=name) for name in ("one", "two")]
    assert text(both).count("# TYPE") == 1
    assert read(*both) == {f"arint_test_total[('flow', 'orders'), ('worker', '{name}')]": 2.0
                           for name in ("one", "two")}


def test_label_sets_are_bounded() -> None:
    counted = Counter("arint_test_total", "Things.", ("path",))
    for number in range(MOST_SERIES + 50):
        counted.at(f"/{number}").add()
    points = {point.labels: point.value for point in counted.snapshot().points}
    assert len(points) == MOST_SERIES + 1
    assert points[(OTHER,)] == 50
    with pytest.raises(TypeError):
        counted.at("one", "too many")


@given(st.lists(st.tuples(st.text(), st.floats(allow_nan=False, allow_infinity=False)), unique_by=lambda pair: pair[0]))
def test_any_value_and_label_comes_through(pairs: list[tuple[str, float]]) -> None:
    points = tuple(Point((label,), value) for label, value in pairs)
    sent = Snapshot("arint_test_total", "gauge", 'It has a "quote", a \\ and a\nbreak.', ("what",), points)
    [travelled] = snapshot.decode(snapshot.encode((sent,)))
    assert travelled == sent
    read_back = {sample.labels["what"]: sample.value
                 for family in text_string_to_metric_families(text([travelled])) for sample in family.samples}
    assert read_back == dict(pairs)
