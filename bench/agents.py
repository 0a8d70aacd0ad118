"""A thousand agents on one etcd: how soon a change of the configuration is seen by every one of them.

Each simulated agent has a connection of its own with mTLS, a lease that it keeps alive, its own record under it, and
the views by which it acts: head and what it is to run. The views of the whole cluster, by which a leader places, are
left out: a thousand of them in a few processes on this machine would measure these processes. They are a few, so that
what is measured is the store and the way to it, and not one process that wakes a thousand times.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import quantiles

import msgspec

from arint.registry.records import Alive, Assignment
from arint.security.ca import ensure_pki
from arint.store.connection import Etcd, Tls
from arint.store.keys import Keys
from arint.store.lease import Lease
from arint.store.view import View
from bench.cpu import cpu_seconds
from bench.report import Figure, best
from tests.servers import EtcdServer, prepared_home

AGENTS = 1000
PROCESSES = 4
CHANGES = 20
TOGETHER = 10
"""Agents of one process that connect at once."""
PATIENCE = 300.0


def measure(runs: int) -> list[Figure]:
    """Milliseconds from before the write to the moment at which an agent's view holds it."""
    with tempfile.TemporaryDirectory(prefix="arint-bench-") as folder:
        return asyncio.run(_measure(Path(folder), runs))


async def _measure(folder: Path, runs: int) -> list[Figure]:
    home = prepared_home(folder / "pki", None)
    ensure_pki(home)
    server = EtcdServer(folder / "etcd", tls=True, pki=home.pki)
    await asyncio.to_thread(server.start)
    try:
        processes = [await _spawn(server) for _ in range(PROCESSES)]
        try:
            began = time.monotonic()
            for process in processes:
                await asyncio.wait_for(_line(process), PATIENCE)
            joined = time.monotonic() - began
            found = [await _changes(server, processes) for _ in range(runs)]
        finally:
            for process in processes:
                if process.returncode is None:
                    process.kill()
                await process.wait()
    finally:
        await asyncio.to_thread(server.close)
    middle, late, last = ([run[index] for run in found] for index in range(3))
    return [
        best(f"a change seen by {AGENTS:,} agents: p50", middle, "ms", None, "less"),
        best(f"a change seen by {AGENTS:,} agents: p99", late, "ms", 250, "less",
             f"the last one after {min(last):.0f} ms; etcd {found[-1][3]:.0%} of a core; joined in {joined:.0f} s"),
    ]


async def _spawn(server: EtcdServer) -> Process:
    pem = server.pem("etcd-agent")
    assert pem is not None
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.agents", server.endpoint, *pem, str(AGENTS // PROCESSES), stdin=PIPE, stdout=PIPE,
        limit=2**22)


async def _changes(server: EtcdServer, processes: list[Process]) -> tuple[float, float, float, float]:
    """The p50, the p99, and the last of all, in ms; and etcd's share of a core."""
    pem = server.pem("etcd-admin")
    assert pem is not None
    seen: list[float] = []
    async with Etcd([server.endpoint], Tls(*pem)) as etcd:
        before, began = cpu_seconds(server.pid), time.monotonic()
        number = int(kv.value) if (kv := await etcd.get(Keys("bench").head)) is not None else 0
        for change in range(number + 1, number + 1 + CHANGES):
            written = time.monotonic()
            await etcd.put(Keys("bench").head, b"%d" % change)
            for process in processes:
                seen += [1000 * (at - written) for at in json.loads(await asyncio.wait_for(_line(process), PATIENCE))]
        share = (cpu_seconds(server.pid) - before) / (time.monotonic() - began)
    if len(seen) != CHANGES * AGENTS:
        raise RuntimeError(f"{len(seen)} of {CHANGES * AGENTS} were seen")
    cuts = quantiles(seen, n=100)
    return cuts[49], cuts[98], max(seen), share


async def _line(process: Process) -> bytes:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError(f"the agents ended with {await process.wait()}")
    return line


async def _agents(endpoint: str, tls: Tls, count: int) -> None:
    """`count` agents; after each change of head a line with the moments at which they saw it (monotonic)."""
    keys = Keys("bench")
    seen: dict[int, list[float]] = {}
    gate = asyncio.Semaphore(TOGETHER)

    async def agent(number: int, open_: AsyncExitStack) -> View[bytes]:
        async with gate:
            etcd = await open_.enter_async_context(Etcd([endpoint], tls, timeout=60.0))
            lease = await open_.enter_async_context(Lease(etcd, ttl=30))
            name = f"n{number}-{time.monotonic_ns()}"
            await etcd.put(keys.alive(name), msgspec.json.encode(Alive(node=name)), lease.id)
            await open_.enter_async_context(View(etcd, keys.assignments_prefix(name), Assignment))
            return await open_.enter_async_context(View(etcd, keys.head, bytes))

    async def follow(head: View[bytes]) -> None:
        while True:
            since, raw = head.version, head.snapshot.get("")
            if raw:
                number = int(raw)
                times = seen.setdefault(number, [])
                times.append(time.monotonic())
                if len(times) == count:
                    print(json.dumps(seen.pop(number)), flush=True)
            await head.wait_changed(since)

    async with AsyncExitStack() as open_, asyncio.TaskGroup() as tasks:
        found = await asyncio.gather(*(agent(number, open_) for number in range(count)))
        for head in found:
            tasks.create_task(follow(head))
        print("[]", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_agents(sys.argv[1], Tls(*sys.argv[2:5]), int(sys.argv[5])))
