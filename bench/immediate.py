"""Immediate calls: an order of 1 KiB, read and answered, through a socket and colocated; beside FastAPI and Node-RED.

All of them in one run and with the same load. FastAPI is a lone process without a bus, placement or records.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec

from bench.cpu import cpu_seconds
from bench.path import Path1, running
from bench.peers.environment import Missing
from bench.peers.servers import fastapi, node_red
from bench.report import Figure, beside, best

SECONDS = 4.0
AT_ONCE = 64
GOALS = {"/socket": 6_000, "/near": 15_000}
PEER_THERE = {"Node-RED": 5_800}
"""What the peer made where the goals were set (`bench.report.beside`)."""
MANIFEST = """
kind: Service
name: order
source: work.py:order
---
kind: Service
name: near
source: work.py:order
colocate: true
---
kind: Channel
name: socket
delivery: immediate
http: {path: /socket}
to: service/order
---
kind: Channel
name: near
delivery: immediate
http: {path: /near}
to: service/near
"""
CODE = """
async def order(order: dict) -> dict:
    return {"id": order["id"], "ok": True}
"""
Load = dict[str, Any]


def measure(runs: int) -> list[Figure]:
    """The figures, and each peer as a ratio."""
    ours: dict[str, list[Load]] = {"/socket": [], "/near": [], "alone": []}
    peers: dict[str, list[Load]] = {"FastAPI": [], "Node-RED": []}
    missing: dict[str, str] = {}
    for _ in range(runs):
        asyncio.run(_ours(ours))
        for name, server in (("FastAPI", fastapi), ("Node-RED", node_red)):
            if name not in missing:
                try:
                    peers[name].append(asyncio.run(_peer(server)))
                except Missing as error:
                    missing[name] = str(error)
    figures = [
        best("immediate, through the socket, 64 at once", _rates(ours["/socket"]), "/s", GOALS["/socket"],
             detail=_detail(ours["/socket"])),
        best("immediate, colocated, 64 at once", _rates(ours["/near"]), "/s", GOALS["/near"],
             detail=_detail(ours["/near"])),
        best("immediate, colocated, alone: p50", [run["p50"] for run in ours["alone"]], "ms", 0.5, "less",
             _detail(ours["alone"])),
    ]
    return figures + [figure for name in peers for figure in _beside(name, ours, peers[name], missing.get(name, ""))]


def _beside(name: str, ours: dict[str, list[Load]], theirs: list[Load], missing: str) -> list[Figure]:
    if missing or not theirs:
        return [Figure(f"{name}: not measured", 0.0, "", detail=missing)]
    rate, there = max(_rates(theirs)), PEER_THERE.get(name)
    ratios = [beside(f"immediate {word}, to one of {name}", max(_rates(ours[path])), rate, "/s",
                     round(GOALS[path] / there, 2) if there else None)
              for word, path in (("through the socket", "/socket"), ("colocated", "/near"))]
    return [best(f"{name}, 64 at once", _rates(theirs), "/s", detail=_detail(theirs)), *ratios]


def _rates(series: list[Load]) -> list[float]:
    return [run["rate"] for run in series]


def _detail(series: list[Load]) -> str:
    top = max(series, key=lambda run: run["rate"])
    cpu = ", ".join(f"{name} {share:.0%}" for name, share in top["cpu"].items())
    return f"{top['rate']:,.0f}/s p50 {top['p50']} p99 {top['p99']} ms; of a core: {cpu}"


async def _ours(found: dict[str, list[Load]]) -> None:
    async with running(MANIFEST, CODE) as path:
        code = Path(path.code).name
        path.common["services"] = tuple(msgspec.structs.replace(one, code=code) for one in path.common["services"])
        await path.agent.start(path.service("order"))
        source = path.source()
        await path.agent.start(source)
        pids = {"listener": path.pid("http-1"), "worker": path.pid("order-1")}
        found["alone"].append(await _load(source.port, 1, "/near", 200, {"listener": pids["listener"]}))
        found["/near"].append(await _load(source.port, AT_ONCE, "/near", 200, {"listener": pids["listener"]}))
        found["/socket"].append(await _load(source.port, AT_ONCE, "/socket", 200, pids))
        await _check_records(path)


async def _check_records(path: Path1) -> None:
    if not await path.count("CALLS"):
        raise RuntimeError("no call was recorded")


async def _peer(server: Callable[[], AbstractContextManager[tuple[int, int]]]) -> Load:
    with server() as (port, pid):
        return await _load(port, AT_ONCE, "/orders", 200, {"server": pid})


async def _load(port: int, callers: int, path: str, status: int, pids: dict[str, int]) -> Load:
    loop = asyncio.get_running_loop()
    began, before = loop.time(), {name: cpu_seconds(pid) for name, pid in pids.items()}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.http_load", str(port), str(callers),
                                                   str(SECONDS), path, str(status), stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the load ended with {process.returncode}")
    result: Load = json.loads(output)
    if set(result["statuses"]) != {str(status)}:
        raise RuntimeError(f"not every request was answered: {result['statuses']}")
    took = loop.time() - began
    result["cpu"] = {name: (cpu_seconds(pid) - before[name]) / took for name, pid in pids.items()}
    return result
