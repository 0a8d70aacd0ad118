"""Steps that make many messages of one, one of many, or keep an order: one runner, one worker where one is called."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from arint.bus import lookup
from arint.bus.subjects import stream_of
from bench.path import DEADLINE, Path1, running
from bench.report import Figure, best
from bench.watch import rate_of

PARTS = 100_000
MEMBERS = 30_000
ORDERED = 10_000
KEYS = 500
MANIFEST = """
kind: Flow
name: parts
max_bytes: 128MiB
steps: [{split: body}, {call: service/nobody}]
---
kind: Flow
name: groups
max_bytes: 64MiB
steps: [{aggregate: {by: body.key, size: 100}}, {call: service/nobody}]
---
kind: Flow
name: gathered
max_bytes: 64MiB
steps: [{split: body}, {aggregate: {split: true}}, {call: service/nobody}]
---
kind: Flow
name: ordered
max_bytes: 64MiB
order_by: body.key
steps: [{call: service/echo}, {set: {vars.x: "1"}}]
---
kind: Flow
name: unordered
max_bytes: 64MiB
steps: [{log: {message: "{{ body.key }}", level: debug}}, {call: service/echo}, {set: {vars.x: "1"}}]
---
kind: Service
name: echo
source: work.py:echo
---
kind: Service
name: nobody
source: work.py:echo
"""
CODE = """
async def echo(body: bytes) -> bytes:
    return body
"""


def measure(runs: int) -> list[Figure]:
    """Each is a rate by the clock."""
    parts = [asyncio.run(_split()) for _ in range(runs)]
    gathered = [asyncio.run(_gathered()) for _ in range(runs)]
    members = [asyncio.run(_aggregate()) for _ in range(runs)]
    ordered, unordered = ([asyncio.run(_in_order(flow)) for _ in range(runs)] for flow in ("ordered", "unordered"))
    return [
        best("split of one message, parts stored", [rate for rate, _ in parts], "/s", 10_000,
             detail=f"{PARTS:,} parts; the runner grows by {min(grown for _, grown in parts):.0f} MiB"),
        best("split of 20,000 gathered again, parts", gathered, "/s", 2000),
        best("aggregate, members in groups of 100", members, "/s", 2000),
        best(f"flow with order_by, {KEYS} keys, service and record", ordered, "/s",
             detail=f"the same flow unordered {max(unordered):,.0f}/s"),
    ]


async def _split() -> tuple[float, float]:
    async with running(MANIFEST, CODE) as path:
        await path.agent.start(path.orders("runner-1", "runner"))
        before = _resident(path.pid("runner-1"), "VmRSS")
        await path.fill("parts", [b"[%b]" % b",".join(b"%d" % number for number in range(PARTS))])

        async def stored() -> int:
            return await path.messages("parts") - 1

        rate = await rate_of(stored, PARTS)
        return rate, (_resident(path.pid("runner-1"), "VmHWM") - before) / 2**20


async def _gathered() -> float:
    async with running(MANIFEST, CODE) as path:
        await path.agent.start(path.orders("runner-1", "runner"))
        count = 20_000
        await path.fill("gathered", [b"[%b]" % b",".join(b"%d" % number for number in range(count))])

        began = time.monotonic()
        while not await _wholes(path, "gathered"):
            if time.monotonic() - began > DEADLINE:
                raise RuntimeError("the parts were not gathered")
            await asyncio.sleep(0.05)
        return count / (time.monotonic() - began)


async def _aggregate() -> float:
    async with running(MANIFEST, CODE) as path:
        count = await path.fill("groups", (b'{"key":%d,"x":"%b"}' % (number % 50, b"x" * 100)
                                           for number in range(MEMBERS)))
        await path.agent.start(path.orders("runner-1", "runner"), wait=False)

        async def members() -> int:
            return 100 * await _wholes(path, "groups")

        return await rate_of(members, count)


async def _in_order(flow: str) -> float:
    async with running(MANIFEST, CODE) as path:
        count = await path.fill(flow, (b'{"key":%d}' % (number % KEYS) for number in range(ORDERED)))
        for orders in (path.orders("runner-1", "runner"), path.service("echo")):
            await path.agent.start(orders, wait=False)

        async def done() -> int:
            return await path.actions() // 2

        return await rate_of(done, count)


async def _wholes(path: Path1, flow: str) -> int:
    stage = "1-call-nobody" if flow == "groups" else "2-call-nobody"
    found = await lookup.look_up(path.bus, stream_of(flow), f"m.*.*.*.{flow}.{stage}")
    return len(found)


def _resident(process: int, key: str) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024.0
