"""The faults: every process of a home, killed -9 in turn; the agent is brought back by `arintctl up`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from threading import Event, Thread

from arint.engines.procfs import boot_id, start_time

VICTIMS = ("double-1", "nats", "http-1", "file-1", "agent", "runner-1", "digest-1", "etcd", "double-2")


class Faults(Thread):
    """Kills one process each `interval` seconds, in turn, until `stop`. `killed` counts by name."""

    def __init__(self, home: Path, arintctl: str, env: Mapping[str, str], *, interval: float) -> None:
        super().__init__(name="faults", daemon=True)
        self.killed: Counter[str] = Counter()
        self.troubles: list[str] = []
        self._home, self._arintctl, self._env, self._interval = home, arintctl, dict(env), interval
        self._done = Event()

    def run(self) -> None:
        """Kill until stopped; the agent is brought back each time."""
        turn = 0
        while not self._done.wait(self._interval):
            name = VICTIMS[turn % len(VICTIMS)]
            turn += 1
            if self._kill(name) and name == "agent":
                self._bring_back()

    def _kill(self, name: str) -> bool:
        pid = pid_of(self._home, name)
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.killed[name] += 1
            return True
        return False

    def _bring_back(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            done = subprocess.run([self._arintctl, "--home", str(self._home), "up"], env=self._env, check=False,
                                  capture_output=True, text=True, timeout=90)
            if done.returncode == 0:
                return
        self.troubles.append(f"up after the agent's death: {done.stderr[-500:]}")

    def stop(self) -> None:
        """No more faults; returns when the last is over."""
        self._done.set()
        self.join(timeout=180)


def pid_of(home: Path, name: str) -> int | None:
    """The process recorded under this name, if it lives: not another that has its number since."""
    try:
        record = json.loads((home / "run" / f"{name}.json").read_text())
        alive = start_time(record["pid"]) == record["start"] and boot_id() == record["boot"]
    except (OSError, ValueError, KeyError):
        return None
    return int(record["pid"]) if alive else None
