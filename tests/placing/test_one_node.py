"""The nouns `node` and `service` on a cluster of one: canary, restart, scale, why, and a drain with nowhere to go."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.hostile.system import System, eventually

MANIFEST = """
kind: Service
name: price
source: price.py:price
replicas: 2
update: {{healthy_after: 100ms, canary: {canary}}}
---
kind: Channel
name: price
http: {{path: /price}}
to: service/price
delivery: immediate
"""
CODE = "def price(body):\n    return {{'version': {number}}}\n"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("placing")) as system:
        system.write({"price/price.yaml": MANIFEST.format(canary=1), "price/price.py": CODE.format(number=1)})
        system.ctl("apply", "price")
        yield system


def versions(system: System) -> list[int]:
    """What enough callers are answered."""
    return [httpx.post(system.url("/price"), json={}).json()["version"] for _ in range(20)]


def pids(system: System) -> set[int]:
    return {item["pid"] for item in system.json("status")["instances"] if item["service"] == "price"}


def test_a_canary_is_tried_beside_the_others_then_aborted_and_then_promoted(system: System) -> None:
    assert set(versions(system)) == {1}
    assert "no canary waits" in system.refused("service", "promote", "price", code=4)
    system.write({"price/price.py": CODE.format(number=2)})
    system.ctl("apply", "price")
    info = next(one for one in system.json("service", "list") if one["service"] == "price")
    assert (info["state"], info["ready"], info["desired"], info["updated"]) == ("canary", 3, 2, 1)
    told = system.json("service", "why", "price")
    assert told["trial"]
    assert [one["why"] for one in told["instances"]].count("a canary: it waits for promote or abort") == 1
    assert "arintctl service promote price" in system.ctl("service", "why", "price")
    system.ctl("service", "abort", "price", "--reason", "it is wrong")
    assert set(versions(system)) == {1}
    assert "it is wrong" in system.ctl("service", "why", "price")
    assert "no new version" in system.refused("service", "abort", "price", code=4)
    system.write({"price/price.py": CODE.format(number=3)})
    system.ctl("apply", "price")
    system.ctl("service", "promote", "price")
    assert set(versions(system)) == {3}
    assert len(pids(system)) == 2


def test_a_restart_replaces_each_process_and_a_scale_is_a_change_set(system: System) -> None:
    before = pids(system)
    assert "would be replaced" in system.ctl("service", "restart", "price", "--dry-run")
    assert pids(system) == before
    system.ctl("service", "restart", "service/price")
    assert not before & pids(system)
    assert len(pids(system)) == 2
    number = system.json("history")[0]["number"]
    assert "nothing was changed" in system.ctl("service", "scale", "price", "3", "--dry-run")
    assert system.json("history")[0]["number"] == number
    system.ctl("service", "scale", "price", "3")
    assert len(pids(system)) == 3
    assert system.json("history")[0]["message"] == "scale service/price from 2 to 3"
    assert "price" in system.refused("service", "why", "pricee", code=3)


def test_a_node_is_labelled_cordoned_and_not_drained_while_there_is_no_other(system: System) -> None:
    (node,) = system.json("node", "list")
    name = node["node"]
    assert node["state"] == "ready"
    assert node["ready"] == node["instances"] >= 4
    assert system.json("node", "label", name, "zone=a", "rack=7")["labels"] == {"rack": "7", "zone": "a"}
    assert system.json("node", "label", name, "rack-")["labels"] == {"zone": "a"}
    system.refused("node", "label", name, "rack-", code=2)
    system.refused("node", "label", name, "zone", code=2)
    system.refused("node", "show", "nobody", code=3)
    system.ctl("node", "cordon", name)
    system.write({"price/price.yaml": MANIFEST.format(canary=0).replace("replicas: 2", "replicas: 5")})
    assert "service why" in system.refused("apply", "price", "--timeout", "4s", code=5)
    told = system.json("service", "why", "price")
    assert [one["why"] for one in told["nodes"]] == ["it is cordoned"]
    assert sum(one["what"] == "waits" for one in told["instances"]) == 2
    system.ctl("node", "uncordon", name)
    eventually(lambda: len(pids(system)) == 5)
    assert "there is no other node" in system.ctl("node", "drain", name, "--dry-run")
    said = system.refused("node", "drain", name, code=4)
    assert "nowhere to go" in said and "there is no other node" in said
    assert set(versions(system)) == {3}


def test_a_drain_by_force_empties_the_only_node_and_uncordon_brings_all_back(system: System) -> None:
    (node,) = system.json("node", "list")
    system.ctl("node", "drain", node["node"], "--force")
    assert system.json("node", "list")[0]["state"] == "drained"
    assert not system.json("status")["instances"]
    assert system.json("status")["ready"]
    system.ctl("node", "uncordon", node["node"])
    eventually(lambda: system.json("node", "list")[0]["ready"] >= 7)
    assert set(versions(system)) == {3}
