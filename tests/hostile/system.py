"""A whole cluster of one machine under test: the real program, a home of its own, everything removed at the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from arint.ports import free_port

PATIENCE = 60.0


class System:
    """A home below `folder`, and `arintctl` for it. Use it as a context manager; `up=False` only makes the folder."""

    def __init__(self, folder: Path, *, up: bool = True) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.port = free_port()
        self.python = sys.executable
        self._up = up
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ARINT", "XDG"))}
        self.environment = {**kept, "XDG_CONFIG_HOME": str(folder / "config"), "ARINT_HOME": str(self.home),
                            "HOSTILE_MARK": "1"}

    def __enter__(self) -> System:
        if self._up:
            try:
                self.ctl("up", "--http-port", str(self.port))
            except BaseException:
                self.remove()
                raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()
        assert not self.home.exists()

    def remove(self) -> None:
        """Stop all and remove the home."""
        if (self.home / "node.json").exists():
            self.run("down", "--purge", "--yes", "--grace", "5s")
        elif self.home.exists():  # an `up` that was refused leaves empty folders
            shutil.rmtree(self.home)

    def run(self, *words: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run arintctl; whatever comes of it."""
        return subprocess.run([self.python, "-m", "arintctl", *words], env=self.environment, capture_output=True,
                              text=True, timeout=timeout, cwd=self.folder, check=False)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start arintctl, without waiting for its end."""
        return subprocess.Popen([self.python, "-m", "arintctl", *words], env=self.environment, cwd=self.folder,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ctl(self, *words: str) -> str:
        """Run arintctl, which must succeed; what it prints."""
        done = self.run(*words)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *words: str) -> Any:
        """What arintctl prints as JSON."""
        return json.loads(self.ctl(*words, "-o", "json"))

    def refused(self, *words: str, code: int | None = None) -> str:
        """Run arintctl, which must refuse in plain words, without a traceback of its own; what it says."""
        done = self.run(*words)
        assert done.returncode not in (0, 10, 120) and done.returncode > 0, f"{words}: {done.stdout}\n{done.stderr}"
        assert code is None or done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stderr

    def write(self, files: dict[str, str | bytes]) -> None:
        """Write files below the folder."""
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def url(self, path: str) -> str:
        """The address of a channel."""
        return f"http://127.0.0.1:{self.port}{path}"

    def post(self, path: str, body: bytes = b"{}", **headers: str) -> str:
        """Send a message that is accepted; its id."""
        answer = httpx.post(self.url(path), content=body, timeout=30.0, headers={
            "Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def state(self, path: str, message: str) -> str:
        """How a message stands, as its sender is told."""
        answer = httpx.get(self.url(f"{path}/messages/{message}"), timeout=30.0)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["state"])

    def wait_state(self, path: str, message: str, *states: str, patience: float = PATIENCE) -> None:
        """Wait until the message stands so."""
        eventually(lambda: self.state(path, message) in states, patience, lambda: self.ctl("why", message))

    def dead_letter(self, message: str) -> Any:
        """The dead letter of a message, in full."""
        return self.json("dlq", "show", message)

    def instance(self, name: str) -> Any:
        """An instance, as `status` shows it."""
        return next(item for item in self.json("status")["instances"] if item["instance"] == name)


def eventually(condition: Callable[[], bool], patience: float = PATIENCE,
               explain: Callable[[], object] = lambda: "") -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience:g} s: {explain()}"
        time.sleep(0.1)


def disk_used(folder: Path, pattern: str = "**/*") -> int:
    """Bytes of the files that are there at this moment."""
    total = 0
    for file in folder.glob(pattern):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def alive(pids: Sequence[int]) -> list[int]:
    """Those that still run."""
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]
