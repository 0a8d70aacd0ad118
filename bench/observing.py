"""What it costs to be watched: one observation of a metric; a worker whose every message is traced, beside one that
traces nothing, in the same run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from arint.meters.families import STAGE_DURATION
from arint.tracing.settings import TraceSettings
from bench.path import running
from bench.report import Figure, best
from bench.watch import rate_of
from bench.worker import CODE, MANIFEST

MESSAGES = 30_000
OBSERVATIONS = 200_000
CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def measure(runs: int) -> list[Figure]:
    """Nanoseconds, and ratios."""
    ours = [_each(STAGE_DURATION.at("orders", "start").observe) for _ in range(runs)]
    theirs = [_each(_prometheus()) for _ in range(runs)]
    rates = [asyncio.run(_both()) for _ in range(runs)]
    kept = [traced / plain for plain, traced in rates]
    plain, traced = max(rates, key=lambda pair: pair[1] / pair[0])
    return [
        best("metrics, one observation of a histogram", ours, "ns", 500, better="less",
             detail=f"prometheus_client in the same run: {min(theirs):,.0f} ns"),
        best("traces, a worker that traces every message, of one that traces none", kept, "x",
             detail=f"{traced:,.0f}/s beside {plain:,.0f}/s; two spans a message"),
    ]


def _each(observe: Callable[[float], None]) -> float:
    begun = time.perf_counter()
    for _ in range(OBSERVATIONS):
        observe(0.003)
    return (time.perf_counter() - begun) / OBSERVATIONS * 1e9


def _prometheus() -> Callable[[float], None]:
    from prometheus_client import CollectorRegistry, Histogram

    family = Histogram("stage", "Duration.", ["flow", "stage"], registry=CollectorRegistry())
    observe: Callable[[float], None] = family.labels("orders", "start").observe
    return observe


async def _both() -> tuple[float, float]:
    """Messages a second without traces, and with."""
    plain = await _rate("")
    async with _collector() as url:
        return plain, await _rate(url)


async def _rate(collector: str) -> float:
    async with running(MANIFEST, CODE) as path:
        if collector:
            path.common["traces"] = TraceSettings(collector)
        bodies = (b'{"n":%d,"x":"' % number + b"x" * 1000 + b'"}' for number in range(MESSAGES))
        count = await path.fill("work", bodies, traceparent=CALLER if collector else "")
        await path.agent.start(path.service("trivial"), wait=False)
        return await rate_of(path.actions, count)


@asynccontextmanager
async def _collector() -> AsyncIterator[str]:
    """Takes whatever comes."""
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
