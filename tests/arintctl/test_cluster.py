"""The whole, with the real program: up, the example, every reading command, down. One cluster for all tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MANIFEST = """
kind: Service
name: twice
source: twice.py:twice
---
kind: Flow
name: doubled
retry: {attempts: 2, backoff: 10ms..20ms}
steps:
  - call: service/twice
  - log: '"doubled"'
---
kind: Channel
name: numbers
http: {path: /numbers}
to: flow/doubled
"""
CODE = """
def twice(order: dict) -> dict:
    return {"number": order["number"] * 2}
"""


class Cluster:
    """A home of its own, and the program that speaks to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ARINT", "XDG"))}
        self.environment = {**kept, "XDG_CONFIG_HOME": str(folder / "config"), "ARINT_HOME": str(self.home)}

    def __call__(self, *words: str, code: int = 0) -> str:
        done = subprocess.run([sys.executable, "-m", "arintctl", *words], env=self.environment, capture_output=True,
                              text=True, timeout=120, cwd=self.folder, check=False)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code in (0, 10) else done.stderr

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "-o", "json", code=code))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "all.yaml").write_text(MANIFEST)
    (folder / "twice.py").write_text(CODE)
    cluster = Cluster(folder)
    try:
        cluster("up", "--http-port", str(_free_port()))
        cluster("apply", "all.yaml", "-m", "first")
        yield cluster
    finally:
        cluster("down", "--purge", "--yes", "--grace", "10s")
    assert not cluster.home.exists()


def _free_port() -> int:
    from arint.ports import free_port

    return free_port()


def post(cluster: Cluster, body: bytes) -> str:
    """Send a message; its id."""
    import httpx

    url = cluster.json("get", "channel/numbers")["status"]["url"]
    answer = httpx.post(url, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_up_again_changes_nothing_and_says_so(cluster: Cluster) -> None:
    before = cluster.json("status")
    again = cluster.json("up")
    assert again["already_running"]
    assert again["status"]["pid"] == before["nodes"][0]["pid"]
    assert "arintctl down" in cluster("up", "--http-port", "1", code=4)


def test_status_and_get_show_what_runs(cluster: Cluster) -> None:
    status = cluster.json("status")
    assert status["ready"]
    assert {engine["name"] for engine in status["engines"]} == {"etcd", "nats"}
    assert {item["service"] for item in status["instances"]} >= {"twice", "system/runner", "system/http"}
    service = cluster.json("get", "service/twice")
    assert (service["status"]["ready"], service["status"]["desired"]) == (1, 1)
    assert "twice" in cluster("get")
    assert cluster.json("get", "service", "twice")["name"] == "twice"
    assert cluster.json("describe", "channel", "numbers")["used_by"] == []
    assert "there is no service 'nobody'" in cluster("get", "service", "nobody", code=3)
    assert cluster("export", "service/nobody", code=3)
    assert cluster("get", "flows", "-o", "name") == "flow/doubled\n"


def test_a_message_and_its_story(cluster: Cluster) -> None:
    message = post(cluster, b'{"number": 21}')
    cluster("why", message, "--follow")
    story = cluster.json("why", message)
    assert story["state"] == "done"
    assert [hop["stage"] for hop in story["hops"]] == ["start"]
    assert story["hops"][0]["attempts"][-1]["instance"] == "twice-1"
    assert story["hops"][0]["attempts"][-1]["change_set"] >= 1
    assert message in cluster("message", "list", "-o", "name").split()
    assert cluster.json("message", "show", message)["body"] == '{"number": 21}'
    assert any(event["message"] == message for event in cluster.json("events"))


def test_a_dead_letter_is_edited_and_replayed(cluster: Cluster) -> None:
    message = post(cluster, b'{"wrong": 21}')
    cluster("why", message, "--follow")
    listed = cluster.json("dlq", "list")
    assert message in [letter["message"] for letter in listed]
    assert "KeyError" in cluster("dlq", "show", message)
    assert "died again" in cluster("dlq", "replay", message, code=1)
    (cluster.folder / "right.json").write_text('{"number": 4}')
    cluster("dlq", "edit", message, "--body", "right.json")
    cluster("dlq", "replay", message)
    story = cluster.json("why", message)
    assert story["state"] == "done"
    assert message not in [letter["message"] for letter in cluster.json("dlq", "list")]


def test_plan_tells_and_apply_checks(cluster: Cluster) -> None:
    assert cluster.json("plan", "all.yaml")["changes"] == []
    (cluster.folder / "more.yaml").write_text(MANIFEST.replace("name: twice\n", "name: twice\nreplicas: 2\n"))
    planned = cluster.json("plan", "more.yaml", code=10)
    assert "conflict" in cluster("apply", "more.yaml", "--check", str(planned["check"] + 1), code=4)
    cluster("apply", "more.yaml", "--check", str(planned["check"]))
    assert cluster.json("get", "service/twice")["status"]["ready"] == 2
    cluster("rollback")
    assert cluster.json("get", "service/twice")["status"]["desired"] == 1
    assert cluster.json("history")[0]["is_head"]


def test_a_service_that_does_not_import_fails_the_apply_in_its_own_words(cluster: Cluster) -> None:
    folder = cluster.folder / "broken"
    folder.mkdir()
    (folder / "broken.py").write_text("import nowhere_to_be_found\n")
    (folder / "broken.yaml").write_text("kind: Service\nname: broken\nsource: broken.py:run\n")
    assert "nowhere_to_be_found" in cluster("apply", "broken", code=1)
    cluster("delete", "service/broken")
    assert "still in use" in cluster("delete", "service/twice", code=4)


def test_every_problem_of_a_manifest_is_listed(cluster: Cluster) -> None:
    (cluster.folder / "wrong.yaml").write_text("kind: Flow\nname: x\nstep: []\nsteps:\n  - call: service/nobody\n")
    told = cluster("apply", "wrong.yaml", code=8)
    assert "wrong.yaml:3" in told
    assert "wrong.yaml:5" in told


def test_logs_and_doctor(cluster: Cluster) -> None:
    cluster("logs", "agent", "-n", "5")
    assert cluster("logs", "nothing", code=3)
    cluster("logs", "runner", "-n", "5")
    checks = {check["name"]: check for check in cluster.json("doctor")}
    assert not [name for name, check in checks.items() if check["state"] == "failed"]


def test_export_then_apply_changes_nothing(cluster: Cluster) -> None:
    (cluster.folder / "export").mkdir()
    (cluster.folder / "export" / "all.yaml").write_text(cluster("export"))
    assert cluster.json("plan", "export", "--prune")["changes"] == []


def test_completion_knows_live_names(cluster: Cluster) -> None:
    done = subprocess.run([sys.executable, "-m", "arintctl"], capture_output=True, text=True, check=False, timeout=30,
                          env={**cluster.environment, "_ARINTCTL_COMPLETE": "complete_bash",
                               "COMP_WORDS": "arintctl describe service/", "COMP_CWORD": "2"})
    assert "service/twice" in done.stdout
