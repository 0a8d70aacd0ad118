"""Backup, loss and restore with the real program: what waited is delivered, once; what was done is not done again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from arint.ports import free_port

MANIFEST = """
kind: Connection
name: partner
http: {{url: "http://127.0.0.1:{port}/"}}
---
kind: Flow
name: deliver
steps:
  - send: {{to: connection/partner}}
retry: {{attempts: 8, backoff: 100ms..1s}}
---
kind: Channel
name: orders
http: {{path: /orders}}
to: flow/deliver
"""


class Partner:
    """An HTTP server that counts what it gets; `with` it is there."""

    def __init__(self, port: int, got: Counter[str]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got[json.loads(body)["n"]] += 1
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)

    def __enter__(self) -> None:
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Ctl:
    """arintctl with a configuration folder and a passphrase of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ARINT", "XDG"))}
        self.environment = {**kept, "XDG_CONFIG_HOME": str(folder / "config"), "ARINT_PASSPHRASE": "correct horse"}

    def words(self, home: Path, *words: str) -> list[str]:
        return [sys.executable, "-m", "arintctl", "--home", str(home), *words]

    def __call__(self, home: Path, *words: str, code: int | None = 0, passphrase: str = "") -> str:
        environment = self.environment | ({"ARINT_PASSPHRASE": passphrase} if passphrase else {})
        done = subprocess.run(self.words(home, *words), env=environment, capture_output=True, text=True, timeout=120,
                              cwd=self.folder, check=False)
        assert code is None or done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stderr if code else done.stdout

    def json(self, home: Path, *words: str) -> Any:
        return json.loads(self(home, *words, "-o", "json"))


@pytest.fixture
def ctl(tmp_path: Path) -> Iterator[Ctl]:
    ctl = Ctl(tmp_path)
    yield ctl
    for home in (tmp_path / "old", tmp_path / "new"):
        if (home / "node.json").exists():
            ctl(home, "down", "--purge", "--yes", "--grace", "10s")


def wait_for(what: str, condition: Any, within: float = 60.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def post(ctl: Ctl, home: Path, names: list[str]) -> None:
    url = ctl.json(home, "get", "channel/orders")["status"]["url"]
    with httpx.Client() as client:
        for name in names:
            assert client.post(url, json={"n": name}).status_code == 202


def kill_in_the_middle(ctl: Ctl, new: Path, file: Path) -> None:
    """kill -9 as soon as the broker of the half-made home runs."""
    begun = subprocess.Popen(ctl.words(new, "cluster", "restore", str(file)), env=ctl.environment, cwd=ctl.folder,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for("the broker of the restore", (new.parent / ".new.restoring" / "run" / "nats.json").exists)
    finally:
        begun.send_signal(signal.SIGKILL)
        begun.wait()
    assert not new.exists()


def test_backups_by_schedule(ctl: Ctl, tmp_path: Path) -> None:
    old, folder, word = tmp_path / "old", tmp_path / "backups", tmp_path / "word"
    ctl(old, "up", "--no-fsync")
    folder.mkdir()
    word.write_text("correct horse\n")
    options = ("--keep", "2", "--to", str(folder), "--passphrase-file", str(word))
    word.chmod(0o644)
    assert "chmod 600" in ctl(old, "cluster", "backup", "schedule", "--every", "5s", *options, code=8)
    word.chmod(0o600)
    assert "--to" in ctl(old, "cluster", "backup", "schedule", "--every", "5s", code=2)
    ctl(old, "cluster", "backup", "schedule", "--every", "5s", *options)

    def made() -> list[str]:
        return sorted(one.name for one in folder.glob("*.arint-backup"))

    wait_for("the first", made)
    first = made()[0]
    ctl(old, "down", "--grace", "5s")
    ctl(old, "up")
    wait_for("the oldest goes", lambda: first not in made())
    assert len(made()) <= 2
    ctl(old, "cluster", "backup", "verify", str(folder / made()[-1]))
    folder.rename(tmp_path / "away")
    wait_for("the failure is told", lambda: "folder for backups" in ctl.json(old, "status").get("error", ""))
    assert "folder for backups" in ctl(old, "status")
    assert {"backups": "failed"}.items() <= {one["name"]: one["state"]
                                             for one in json.loads(ctl(old, "doctor", "-o", "json", code=None))}.items()
    assert not ctl.json(old, "cluster", "backup", "schedule", "--off")["schedule"]
    wait_for("nothing is told any more", lambda: not ctl.json(old, "status").get("error"))


def test_a_total_loss_is_survived(ctl: Ctl, tmp_path: Path) -> None:
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "one.arint-backup"
    got: Counter[str] = Counter()
    port = free_port()
    (tmp_path / "all.yaml").write_text(MANIFEST.format(port=port))
    ctl(old, "up", "--no-fsync")
    ctl(old, "apply", "all.yaml")
    done, waiting, lost = ([f"{kind}{n}" for n in range(20)] for kind in ("done", "waiting", "lost"))
    with Partner(port, got):
        post(ctl, old, done)
        wait_for("all delivered", lambda: len(got) == len(done))
        wait_for("all acked", lambda: all(one["state"] == "done" for one in ctl.json(old, "message", "list")))
    post(ctl, old, waiting)
    result = ctl.json(old, "cluster", "backup", "create", str(file))
    assert result["messages"] >= 40
    assert str(file) in ctl(old, "cluster", "backup", "verify", str(file))
    assert "F-deliver" in ctl(old, "cluster", "backup", "show", str(file))
    assert "passphrase" in ctl(old, "cluster", "backup", "show", str(file), code=7, passphrase="something else")
    post(ctl, old, lost)
    assert "home already" in ctl(old, "cluster", "restore", str(file), code=4)
    ctl(old, "down", "--grace", "5s")
    shutil.rmtree(old)

    kill_in_the_middle(ctl, new, file)
    restored = ctl.json(new, "cluster", "restore", str(file))
    assert restored["cluster"] == "local"
    assert not (tmp_path / ".new.restoring").exists()
    with Partner(port, got):
        ctl(new, "up")
        wait_for("what waited is delivered", lambda: all(name in got for name in waiting))
        post(ctl, new, ["after"])
        wait_for("it goes on", lambda: "after" in got)
        wait_for("nothing waits", lambda: all(one["state"] == "done" for one in ctl.json(new, "message", "list")))
    assert all(got[name] == 1 for name in [*done, *waiting, "after"]), got
    assert not any(name in got for name in lost)
