"""A trivial async service: from the pull to the stored output with its action record, one worker process.

Beside the same in other frameworks, in the same run. Ours encrypts, stores the output and a record of the attempt, and
is on disk (fsync) before the input is acknowledged; what the others do not do is not taken off.
"""

from __future__ import annotations

import asyncio

from bench.cpu import cpu_seconds
from bench.path import running
from bench.peers import workers
from bench.report import Figure, beside, best
from bench.watch import rate_of

MESSAGES = 80_000
GOAL = 12_000
PEER_THERE = {"FastStream": 2_650}
"""What the peer that is most alike (NATS, async) made where the goal was set: the middle of 2,100 to 3,200."""
MANIFEST = """
kind: Service
name: trivial
source: work.py:trivial
---
kind: Service
name: nobody
source: work.py:trivial
---
kind: Flow
name: work
steps: [{call: service/trivial}, {call: service/nobody}]
max_bytes: 1GiB
"""
CODE = """
async def trivial(body: bytes) -> bytes:
    return body
"""


def measure(runs: int) -> list[Figure]:
    """Messages a second."""
    found = [asyncio.run(_run()) for _ in range(runs)]
    top = max(found)
    return [best("worker, trivial async service, output and record", [rate for rate, _ in found], "/s", GOAL,
                 detail=f"{top[1]:,.0f} messages per CPU second of the worker"),
            *(beside(f"worker, beside {name}", top[0], workers.measured(name), "/s", _ratio(name))
              for name in workers.PEERS)]


def _ratio(peer: str) -> float | None:
    return round(GOAL / PEER_THERE[peer], 2) if peer in PEER_THERE else None


async def _run() -> tuple[float, float]:
    async with running(MANIFEST, CODE) as path:
        count = await path.fill("work", (b'{"n":%d,"x":"' % number + b"x" * 1000 + b'"}' for number in range(MESSAGES)))
        await path.agent.start(path.service("trivial"), wait=False)

        async def done() -> int:
            return await path.actions()

        rate = await rate_of(done, count)
        cpu = cpu_seconds(path.pid("trivial-1"))
        stored = await path.messages("work") - count
        if stored != count:
            raise RuntimeError(f"{count} went in, {stored} came out")
        return rate, count / cpu
