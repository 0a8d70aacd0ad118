"""The directory source: small files a second, and a large CSV split and stored in bounded memory.

The CSV has 128 MB, or what ARINT_BENCH_CSV says (`ARINT_BENCH_CSV=1GB python -m bench files`; then once).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arint.resources.quantities import octets
from bench.cpu import cpu_seconds
from bench.path import DEADLINE, Path1, running
from bench.report import Figure, best

FILES = 6000
BODY = (b'{"id": "%06d", "lines": [' + b'{"article": "A-1000", "qty": 3, "price": 12.5}, ' * 300)[:10 * 2**10 - 20]
ROW = "%08d;A-%06d;Müller & Söhne GmbH;2024-05-%02d;%d;1.234,50;Lieferung frei Haus, Abladestelle 4\n"
BATCH = 100
MANIFEST = """
kind: Channel
name: in
file: {path: "${ARINT_DATA}/in", settle: 0s, every: 100ms}
to: flow/collect
---
kind: Channel
name: large
file:
  path: ${ARINT_DATA}/large
  settle: 0s
  every: 100ms
  records: {format: csv, delimiter: ";", encoding: latin-1, batch: 100}
to: flow/collect
---
kind: Flow
name: collect
steps: [{call: service/nobody}]
max_bytes: 3GiB
---
kind: Service
name: nobody
source: work.py:work
"""
CODE = "async def work(body: bytes): ...\n"


def measure(runs: int) -> list[Figure]:
    """Both figures, each with the memory of the source's process."""
    size = octets(os.environ.get("ARINT_BENCH_CSV", "128MB"))
    small = [asyncio.run(_small()) for _ in range(runs)]
    large = [asyncio.run(_large(size)) for _ in range(runs if size < 500_000_000 else 1)]
    top = max(small, key=lambda run: run["rate"])
    best_large = max(large, key=lambda run: run["rate"])
    return [
        best("directory source, files of 10 KiB", [run["rate"] for run in small], "/s", 2000,
             detail=f"{FILES:,} files, source {top['cpu']:.0%} of a core, {top['memory']:.0f} MiB"),
        best(f"CSV of {size / 1e9:.3g} GB, {BATCH} records a message: memory", [run["memory"] for run in large], "MiB",
             300, "less", f"{best_large['rows']:,} records in {best_large['took']:.0f} s"),
        best("the same: records", [run["rate"] for run in large], "/s", detail=(
            f"{best_large['octets']:.0f} MB/s, {best_large['rate'] / BATCH:,.0f} messages/s, "
            f"source {best_large['cpu']:.0%} of a core")),
    ]


async def _small() -> dict[str, Any]:
    async with running(MANIFEST, CODE) as path:
        folder = Path(path.common["variables"]["ARINT_DATA"]) / "in"
        folder.mkdir(parents=True)
        for number in range(FILES):
            (folder / f"{number}.json").write_bytes(BODY % number)
        result = await _taken(path, FILES)
        left = sum(1 for _ in folder.glob("*.json"))
        if left:
            raise RuntimeError(f"{left} files were not put away")
        return {**result, "rate": FILES / result["took"]}


async def _large(size: int) -> dict[str, Any]:
    async with running(MANIFEST, CODE) as path:
        folder = Path(path.common["variables"]["ARINT_DATA"]) / "large"
        folder.mkdir(parents=True)
        rows = await asyncio.to_thread(_write, folder / "large.csv", size)
        result = await _taken(path, -(-rows // BATCH), 40 * DEADLINE)
        return {**result, "rows": rows, "rate": rows / result["took"], "octets": size / 1e6 / result["took"]}


async def _taken(path: Path1, messages: int, deadline: float = DEADLINE) -> dict[str, Any]:
    """From the source's first look to the last message on disk and the last file put away."""
    source = path.orders("file-1", "source", source="file", channels=path.channels)
    await path.agent.start(source)
    began, pid = time.monotonic(), path.pid("file-1")
    before = cpu_seconds(pid)
    while await path.messages("collect") < messages or _claims(path):
        if time.monotonic() - began > deadline:
            raise RuntimeError(f"only {await path.messages('collect'):,} of {messages:,} messages after {deadline:g} s")
        await asyncio.sleep(0.02)
    took = time.monotonic() - began
    stored = await path.messages("collect")
    if stored != messages:
        raise RuntimeError(f"{stored:,} messages are stored, not {messages:,}")
    return {"took": took, "cpu": (cpu_seconds(pid) - before) / took, "memory": _highest(pid)}


def _claims(path: Path1) -> bool:
    """Is anything claimed and not put away?"""
    data = Path(path.common["variables"]["ARINT_DATA"])
    return any(file.is_file() for file in data.glob("*/.arint/*/*/*"))


def _highest(pid: int) -> float:
    """The most that was ever resident, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _rows() -> Iterator[str]:
    number = 0
    while True:
        yield ROW % (number, number % 1000, number % 28 + 1, number % 50)
        number += 1


def _write(file: Path, size: int) -> int:
    written = count = 0
    with file.open("w", encoding="latin-1") as target:
        target.write("order;article;customer;date;qty;price;remark\n")
        for row in _rows():
            written += target.write(row)
            count += 1
            if written >= size:
                return count
    raise AssertionError("the rows do not end")
