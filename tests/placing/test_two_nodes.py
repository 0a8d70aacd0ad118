"""Two nodes over the loopback under load: calls across, a restart, a kill, a drain; no call fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.hostile.system import System, eventually

MANIFEST = """
kind: Service
name: price
source: price.py:price
replicas: 2
placement: {{labels: {{zone: {zone}}}}}
update: {{healthy_after: 100ms}}
---
kind: Channel
name: price
http: {{path: /price, methods: [GET]}}
to: service/price
delivery: immediate
---
kind: Flow
name: priced
steps: [{{call: service/price}}]
---
kind: Channel
name: priced
http: {{path: /priced}}
to: flow/priced
"""
CODE = """
from arint import Context


def price(ctx: Context) -> dict[str, int]:
    return {"price": 7}
"""


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


def apply(first: System, zone: str) -> None:
    first.write({"price/price.yaml": MANIFEST.format(zone=zone), "price/price.py": CODE})
    first.ctl("apply", "price")


def join(first: System, second: System) -> None:
    asked = json.dumps({"cluster": "local", "node": "n2", "host": "127.0.0.1", "labels": {"zone": "b"}})
    second.write({"asked": asked})
    second.write({"request": second.ctl("node", "request", "--document", str(second.folder / "asked"))})
    second.write({"join": first.ctl("node", "admit", "--document", str(second.folder / "request"))})
    second.ctl("node", "join", "--document", str(second.folder / "join"))
    shutil.copytree(first.home / "artifacts", second.home / "artifacts", dirs_exist_ok=True)
    second.ctl("up")


def where(first: System) -> Counter[str]:
    """Instances of the service by node."""
    told = first.json("service", "why", "price")
    return Counter(one["node"] for one in told["instances"] if one.get("state") == "ready")


@contextmanager
def load(url: str) -> Iterator[Counter[int]]:
    """Callers who ask all the time; the statuses that they were answered with."""
    statuses: Counter[int] = Counter()
    ended = threading.Event()

    def caller() -> None:
        with httpx.Client(timeout=20.0, trust_env=False) as client:
            while not ended.is_set():
                statuses[client.get(url).status_code] += 1

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for one in callers:
        one.start()
    try:
        eventually(lambda: statuses.total() > 50)
        yield statuses
        reached = statuses.total() + 50
        eventually(lambda: statuses.total() > reached)
    finally:
        ended.set()
        for one in callers:
            one.join()


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
