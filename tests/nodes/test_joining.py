"""A second home joins the first one's cluster over the loopback: what is refused, what it then does, how it leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.system import System, eventually
from tests.nodes.joining import admitted, asked, write

MANIFEST = """
kind: Flow
name: marked
steps:
  - set: {body: "body"}
---
kind: Channel
name: marked
http: {path: /marked}
to: flow/marked
"""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("first")) as system:
        yield system


@pytest.fixture
def second(first: System, tmp_path: Path) -> Iterator[System]:
    """A home that is nothing yet; its node, `n2`, is forgotten at the end."""
    with System(tmp_path, up=False) as system:
        yield system
        if (system.home / "node.json").exists():
            system.ctl("down")
    first.run("node", "forget", "n2", "--yes")


def test_a_home_without_engines_works_for_the_cluster(first: System, second: System) -> None:
    document = admitted(first, second, labels={"zone": "b"})
    assert "is node n2 of cluster local; arintctl up" in second.ctl("node", "join", "--document", document)
    assert "already" in second.ctl("node", "join", "--document", document)
    assert not list((second.home / "pki").glob("*ca.key"))
    assert {file.stat().st_mode & 0o777 for file in (second.home / "pki").iterdir()} == {0o600}
    up = second.json("up")
    assert up["node"] == "n2" and not up["status"].get("engines")
    nodes = {one["node"]: one for one in first.json("node", "list")}
    assert nodes["n2"]["state"] == "ready" and nodes["n2"]["labels"] == {"zone": "b"}
    first.ctl("apply", write(first, "m.yaml", MANIFEST))
    first.wait_state("/marked", first.post("/marked", b'{"n": 1}'), "done")
    second.ctl("node", "list")  # it asks the first one's etcd
    for system in (first, second):
        assert system.json("status")["ready"]
        assert system.ctl("logs", "agent@n2") == system.ctl("logs", "agent", "--node", "n2") != ""
    found = {one["node"]: one["state"] for one in first.json("status")["nodes"]}
    assert found == dict.fromkeys(nodes, "ready")
    found = {one["node"]: one["state"] for one in second.json("status")["nodes"]}
    assert found == {name: "ready" if name == "n2" else "lives" for name in nodes}
    other = next(name for name in nodes if name != "n2")
    assert "may not ask other nodes" in second.refused("logs", f"agent@{other}", code=7)
    assert {one["node"]: one["instances"] > 0 for one in first.json("overview")["nodes"]} == dict.fromkeys(nodes, True)
    second.ctl("down")
    assert {one["node"]: one["state"] for one in first.json("status")["nodes"]}["n2"] == "away"
    second.ctl("up")
    assert "the node lives" in first.refused("node", "forget", "n2", "--yes", code=4)
    second.ctl("down")
    eventually(lambda: "the node lives" not in first.run("node", "forget", "n2", "--yes").stderr, 20.0)
    assert [one["node"] for one in first.json("node", "list")] == [first.json("status")["node"]]


def test_what_the_agent_of_a_node_runs_outlives_a_restart_of_the_servers(first: System, second: System) -> None:
    second.ctl("node", "join", "--document", admitted(first, second))
    second.ctl("up")
    first.ctl("down")
    first.ctl("up")
    eventually(lambda: second.json("status").get("ready", False), 30.0)
    eventually(lambda: {one["node"]: one["state"] for one in first.json("node", "list")}.get("n2") == "ready", 30.0)


def test_documents_that_are_not_right(first: System, second: System) -> None:
    bad = {"not json": "{", "another document": "[]", "unknown": asked(colour="red")}
    for text in bad.values():
        assert "not the document" in second.refused("node", "request", "--document", write(second, "bad", text), code=8)
    for word, more in {"DNS label": {"node": "N 2"}, "no address": {"host": ""}, "has no role": {"roles": []},
                       "join as a worker": {"roles": ["server"]}}.items():
        assert word in second.refused("node", "request", "--document", write(second, "bad", asked(**more)), code=8)
    assert not (second.home / "node.json").exists()
    request = json.loads(second.ctl("node", "request", "--document", write(second, "asked", asked(cluster="other"))))
    assert "for the cluster other" in first.refused("node", "admit", "--document",
                                                    write(second, "request", json.dumps(request)), code=8)
    request["asked"]["cluster"] = "local"
    request["requests"]["etcd-admin"] = request["requests"]["worker"]
    assert "no node is given" in first.refused("node", "admit", "--document",
                                               write(second, "request", json.dumps(request)), code=8)
    del request["requests"]["etcd-admin"]
    request["requests"]["agent"] = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"
    damaged = write(second, "request", json.dumps(request))
    assert "not whole" in first.refused("node", "admit", "--document", damaged, code=8)


def test_a_name_and_an_address_belong_to_one_machine(first: System, second: System, tmp_path: Path) -> None:
    document = json.loads(Path(admitted(first, second)).read_text())
    other = System(tmp_path / "other", up=False)
    other.folder.mkdir()
    with other:
        request = other.ctl("node", "request", "--document", write(other, "asked", asked(host="127.0.0.2")))
        assert "has a node n2 already" in first.refused("node", "admit", "--document", write(other, "request", request),
                                                        code=4)
        wrong = write(other, "join", json.dumps(document | {"asked": document["asked"] | {"host": "127.0.0.2"}}))
        assert "another key" in other.refused("node", "join", "--document", wrong, code=8)
        assert not (other.home / "node.json").exists()
    assert "is node" in first.refused("node", "request", "--document", write(second, "asked", asked()), code=4)
