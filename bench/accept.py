"""Guaranteed accept over HTTP: 1 KiB, one listener process, answered 202 when the broker has it on disk."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from bench.cpu import cpu_seconds
from bench.path import Path1, running
from bench.report import Figure, best

SECONDS = 5.0
MANIFEST = """
kind: Flow
name: orders
steps: [{call: service/nobody}]
max_bytes: 2GiB
---
kind: Service
name: nobody
source: work.py:work
---
kind: Secret
name: key
from: {env: HOME}
---
kind: Channel
name: orders-in
http: {path: /orders, auth: {api_key: {secret: key}}, limits: {concurrency: 2000}}
to: flow/orders
"""
CODE = "async def work(body: bytes): ...\n"


def measure(runs: int) -> list[Figure]:
    """All four figures."""
    synced = asyncio.run(_series(True, [1, 64, 500], runs))
    quick = asyncio.run(_series(False, [64], runs))
    return [
        best("accept, fsync always, alone: p50", [run["p50"] for run in synced[1]], "ms", 1.0, "less",
             _detail(synced[1])),
        best("accept, fsync always, 64 at once", [run["rate"] for run in synced[64]], "/s", 6000,
             detail=_detail(synced[64])),
        best("accept, fsync always, 500 at once", [run["rate"] for run in synced[500]], "/s", 10000,
             detail=_detail(synced[500])),
        best("accept, without fsync, 64 at once", [run["rate"] for run in quick[64]], "/s", 10000,
             detail=_detail(quick[64])),
    ]


def _detail(series: list[dict[str, Any]]) -> str:
    top = max(series, key=lambda run: run["rate"])
    return f"{top['rate']:,.0f}/s p50 {top['p50']} p99 {top['p99']} ms, listener {top['cpu']:.0%} of a core"


async def _series(fsync: bool, callers: list[int], runs: int) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {count: [] for count in callers}
    for _ in range(runs):
        async with running(MANIFEST, CODE, fsync=fsync) as path:
            source = path.source()
            await path.agent.start(source)
            for count in callers:
                found[count].append(await _load(path, source.port, count))
    return found


async def _load(path: Path1, port: int, callers: int) -> dict[str, Any]:
    before = await path.messages("orders")
    began, cpu = asyncio.get_running_loop().time(), cpu_seconds(path.pid("http-1"))
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.http_load", str(port), str(callers),
                                                   str(SECONDS), stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the load ended with {process.returncode}")
    result: dict[str, Any] = json.loads(output)
    if set(result["statuses"]) != {"202"}:
        raise RuntimeError(f"not every request was accepted: {result['statuses']}")
    if await path.messages("orders") - before < result["statuses"]["202"]:
        raise RuntimeError("there are more answers than messages on disk")
    result["cpu"] = (cpu_seconds(path.pid("http-1")) - cpu) / (asyncio.get_running_loop().time() - began)
    return result
