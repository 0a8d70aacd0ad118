"""New versions under load: how many requests fail while a service is replaced, again and again; and how long it takes.

Callers send all the time, some of them messages that are stored (`guaranteed`), some that are answered (`immediate`).
A failed request is any answer but 202 or 200, and any connection that ends without one.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import httpx

from bench.report import Figure
from tests.hostile.system import System, eventually

VERSIONS = 8
CALLERS = 8
MANIFEST = """
kind: Service
name: work
source: work.py:work
replicas: 2
update: {max_parallel: 1, healthy_after: 500ms}
---
kind: Flow
name: stored
steps:
  - call: service/work
---
kind: Channel
name: stored
http: {path: /stored}
to: flow/stored
---
kind: Channel
name: answered
http: {path: /answered}
to: service/work
delivery: immediate
"""
CODE = "def work(body):\n    return {{'version': {number}}}\n"


class Callers:
    """Requests to both channels, each caller's next when its last is answered, until it is told to stop."""

    def __init__(self, system: System) -> None:
        self.sent = {"/stored": 0, "/answered": 0}
        self.failed: list[str] = []
        self.versions: set[int] = set()
        self.times: list[float] = []
        self._system = system
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Callers:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=CALLERS, max_keepalive_connections=CALLERS)
        async with httpx.AsyncClient(timeout=30.0, limits=limits, trust_env=False) as client:
            paths = ["/stored", "/answered"] * (CALLERS // 2)
            await asyncio.gather(*(self._call(client, path) for path in paths))

    async def _call(self, client: httpx.AsyncClient, path: str) -> None:
        while not self._stop.is_set():
            began = time.perf_counter()
            try:
                answer = await client.post(self._system.url(path), json={})
                good = answer.status_code == (202 if path == "/stored" else 200)
                told = f"{path}: {answer.status_code} {answer.text[:200]}"
                if good and path == "/answered":
                    self.versions.add(answer.json()["version"])
            except httpx.HTTPError as error:
                good, told = False, f"{path}: {type(error).__name__} {error}"
            self.times.append(time.perf_counter() - began)
            self.sent[path] += 1
            if not good:
                self.failed.append(told)
            await asyncio.sleep(0.002)


def measure(runs: int) -> list[Figure]:
    """One cluster; `runs` times eight versions of a service with two replicas."""
    rollouts: list[float] = []
    with tempfile.TemporaryDirectory(prefix="arint-bench-") as folder, System(Path(folder)) as system:
        _apply(system, 0)
        with Callers(system) as callers:
            for number in range(1, runs * VERSIONS + 1):
                began = time.perf_counter()
                _apply(system, number)
                rollouts.append(time.perf_counter() - began)
        dead = len(system.json("dlq", "list"))
        eventually(lambda: not any(one["in_flight"] for one in system.json("status")["instances"]))
    if callers.failed:
        print("\n".join(callers.failed[:10]))
    stored, answered = callers.sent["/stored"], callers.sent["/answered"]
    seen = f"{len(callers.versions)} versions answered"
    late = sorted(callers.times)[int(len(callers.times) * 0.999)] * 1000
    return [Figure("rolling replacement: failed requests", len(callers.failed), "", 0, "less",
                   f"of {stored} stored and {answered} answered, in {len(rollouts)} rollouts; {seen}"),
            Figure("rolling replacement: dead letters", dead, "", 0, "less"),
            Figure("rolling replacement: p99.9 of a request meanwhile", round(late, 1), "ms", None, "less"),
            Figure("rolling replacement: two replicas, one after the other", round(min(rollouts), 2), "s", None, "less",
                   "apply --wait, healthy_after 500ms")]


def _apply(system: System, number: int) -> None:
    system.write({"work/work.yaml": MANIFEST, "work/work.py": CODE.format(number=number)})
    try:
        system.ctl("apply", "work")
    except AssertionError:
        print(subprocess.run(["tail", "-30", system.home / "log/agent.log"], capture_output=True, text=True,
                             check=False).stdout)
        raise
