"""A laptop with no home: every command over a context, with the real program and a real administration service."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from arint.ports import free_port
from tests.arintctl.test_cluster import CODE, MANIFEST, Cluster, post


class Laptop:
    """A machine of its own: no home, a configuration folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ARINT", "XDG"))}
        self.environment = {**kept, "XDG_CONFIG_HOME": str(folder / "config"), "XDG_DATA_HOME": str(folder / "data")}

    def run(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([sys.executable, "-m", "arintctl", *words], env=self.environment, capture_output=True,
                              text=True, timeout=60, cwd=self.folder, check=False)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def __call__(self, *words: str, code: int = 0) -> str:
        done = self.run(*words, code=code)
        return done.stdout if not code else done.stderr

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "-o", "json"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "all.yaml").write_text(MANIFEST)
    (folder / "twice.py").write_text(CODE)
    cluster = Cluster(folder)
    try:
        cluster("up", "--http-port", str(free_port()))
        cluster("apply", "all.yaml")
        yield cluster
    finally:
        cluster("down", "--purge", "--yes", "--grace", "10s")


@pytest.fixture(scope="module")
def laptop(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    """With a context for each role."""
    laptop = Laptop(tmp_path_factory.mktemp("laptop") / "machine")
    for role in ("viewer", "operator", "administrator"):
        file = cluster.folder / f"{role}.yaml"
        cluster("user", "add", f"the-{role}", "--role", role, "--file", str(file))
        assert file.stat().st_mode & 0o777 == 0o600
        laptop("context", "add", role, "--file", str(file))
    until_ready(cluster)
    return laptop


def admins(cluster: Cluster) -> list[dict[str, Any]]:
    return [item for item in cluster.json("status")["instances"] if item["service"] == "system/admin"]


def until_ready(cluster: Cluster) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for item in admins(cluster):
            if item["state"] == "ready":
                return item
        time.sleep(0.1)
    raise AssertionError(admins(cluster))


def test_reading_as_a_viewer(laptop: Laptop, cluster: Cluster) -> None:
    laptop("context", "use", "viewer")
    status = laptop.json("status")
    assert (status["node"], status["ready"]) == (cluster.json("status")["node"], True)
    assert laptop.json("get", "service/twice")["status"]["ready"] == 1
    assert laptop.json("describe", "channel/numbers")["resource"]["name"] == "numbers"
    message = post(cluster, b'{"number": 21}')
    cluster("why", message, "--follow")
    assert laptop.json("why", message)["state"] == "done"
    assert laptop.json("message", "show", message)["body"] == '{"number": 21}'
    assert laptop.json("dlq", "list") == []
    for words in (("history",), ("events",), ("message", "list"), ("channel", "list"), ("channel", "show", "numbers"),
                  ("channel", "openapi"), ("secret", "list"), ("user", "list"), ("overview",), ("node", "list"),
                  ("service", "list"), ("service", "why", "twice")):
        assert isinstance(laptop.json(*words), list | dict), words
    assert "twice-1" in laptop("logs", "-n", "5", "-o", "name") or laptop("logs")
    assert "kind: Service" in laptop("export")
    assert laptop("context", "show", "viewer")


def test_what_each_role_may_not(laptop: Laptop, cluster: Cluster) -> None:
    message = post(cluster, b'{"wrong": 21}')
    cluster("why", message, "--follow")
    for role, words in (("viewer", ("dlq", "replay", message)), ("viewer", ("message", "show", message, "--body")),
                        ("viewer", ("delete", "channel/numbers")), ("viewer", ("user", "remove", "the-viewer")),
                        ("operator", ("delete", "channel/numbers")), ("operator", ("dlq", "drop", message)),
                        ("operator", ("rollback",)), ("operator", ("audit", "list")),
                        ("operator", ("secret", "rotate"))):
        assert "needs the role" in laptop("--context", role, *words, code=7)
    assert "died again" in laptop("--context", "operator", "dlq", "replay", message, code=1)
    laptop("--context", "administrator", "dlq", "drop", message)
    listed = laptop.json("--context", "administrator", "audit", "list", "-n", "500")
    seen = {(one["user"], one["operation"], one["outcome"]) for one in listed}
    assert {("the-viewer", "dead-replay_dead", "denied"), ("the-operator", "dead-replay_dead", "done"),
            ("the-operator", "configuration-delete", "denied"),
            ("the-administrator", "dead-drop_dead", "done")} <= seen
    assert any(one["via"] == "home" and one["operation"] == "users-add_user" for one in listed)
    laptop("--context", "administrator", "audit", "verify")


def test_the_console_opens_over_a_context(laptop: Laptop) -> None:
    size = {"COLUMNS": "160", "LINES": "60", "TERM": "xterm-256color"}
    child = pexpect.spawn(sys.executable, ["-m", "arintctl", "--context", "viewer", "console"],
                          env=laptop.environment | size, cwd=str(laptop.folder), dimensions=(60, 160), timeout=60)
    try:
        child.expect_exact("twice-1")
        child.send("q")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
    assert child.exitstatus == 0


def test_what_is_for_the_node_itself_says_so(laptop: Laptop) -> None:
    for words in (("up",), ("down",), ("doctor",)):
        assert "own home" in laptop("--context", "administrator", *words, code=2), words


def test_a_killed_service_is_started_again(laptop: Laptop, cluster: Cluster) -> None:
    before = until_ready(cluster)
    follower = subprocess.Popen([sys.executable, "-m", "arintctl", "--context", "viewer", "logs", "-f"],
                                env=laptop.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert follower.stdout is not None
    assert follower.stdout.readline()
    os.kill(before["pid"], signal.SIGKILL)
    assert follower.wait(timeout=30) == 6
    assert "said nothing" in follower.stderr.read() if follower.stderr else False
    deadline = time.monotonic() + 20
    while until_ready(cluster)["pid"] == before["pid"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert laptop.json("--context", "viewer", "status")["ready"]


def test_contexts_are_renamed_and_removed_with_their_keys(laptop: Laptop, cluster: Cluster) -> None:
    file = cluster.folder / "viewer.yaml"
    laptop("context", "add", "second", "--file", str(file), "--read-only")
    laptop("context", "rename", "second", "third")
    assert laptop.json("context", "show", "third")["read_only"]
    assert laptop.json("--context", "third", "history")
    folder = laptop.folder / "config" / "arint" / "contexts" / "third"
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    laptop("context", "remove", "third")
    assert not folder.exists()
    assert "no context" in laptop("--context", "third", "status", code=3)
