"""Two nodes over the loopback under load: calls across, a restart, a kill, a drain; no call fails."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.hostile.system import System, eventually
from tests.two_nodes import apply, join, load


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[System, System]]:
    """The first home has the engines and zone a, the second joins as n2 with zone b."""
    with System(tmp_path_factory.mktemp("first")) as first, System(tmp_path_factory.mktemp("second"),
                                                                    up=False) as second:
        first.ctl("node", "label", first.json("status")["node"], "zone=a")
        apply(first, "a")
        join(first, second)
        yield first, second
        second.ctl("down")


def where(first: System) -> Counter[str]:
    """Instances of the service by node."""
    told = first.json("service", "why", "price")
    return Counter(one["node"] for one in told["instances"] if one.get("state") == "ready")


def instances_on(node: str, system: System) -> list[str]:
    return [one["instance"] for one in system.json("status").get("instances", []) if one["node"] == node]


def test_calls_across_nodes_survive_a_move_a_restart_and_a_kill(nodes: tuple[System, System]) -> None:
    first, second = nodes
    with load(first.url("/price")) as statuses:
        apply(first, "b")  # the label moves both to n2: from then on every call goes across
        eventually(lambda: where(first) == {"n2": 2}, explain=lambda: where(first))
        first.ctl("service", "restart", "price")
        there = [one for one in second.json("status")["instances"] if (one["service"], one["node"]) == ("price", "n2")]
        os.kill(there[0]["pid"], signal.SIGKILL)
        eventually(lambda: where(first) == {"n2": 2}, explain=lambda: where(first))
    assert set(statuses) == {200}, statuses
    way = next(one["rtt"] for one in first.json("node", "list") if one["node"] == "n2")
    assert 0 < way < 0.5


def test_a_drain_under_load_fails_no_call_and_loses_no_message(nodes: tuple[System, System]) -> None:
    first, second = nodes
    stranded = first.refused("node", "drain", "n2", code=4)
    assert "it has zone=a, and zone=b is asked for" in stranded
    first.ctl("node", "label", first.json("status")["node"], "zone=b")
    sent = []
    with load(first.url("/price")) as statuses:
        sent += [first.post("/priced") for _ in range(50)]
        first.ctl("node", "drain", "n2")
        sent += [first.post("/priced") for _ in range(50)]
    assert set(statuses) == {200}, statuses
    for message in sent:
        first.wait_state("/priced", message, "done")
    assert {one["node"]: one["state"] for one in first.json("node", "list")}["n2"] == "drained"
    assert not instances_on("n2", second)
    assert second.json("status")["ready"]
    first.ctl("node", "uncordon", "n2")
    eventually(lambda: bool(instances_on("n2", second)))
