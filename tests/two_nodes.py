"""Two homes of this machine as two nodes, and callers who ask all the time."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

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
