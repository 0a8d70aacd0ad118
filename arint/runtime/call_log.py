"""The records of immediate calls: gathered, and written behind the answers, many in one message of the stream CALLS.

One message each, as stages have it, would cost more than many a call. What was gathered in the last moments is lost
when the process is killed; the callers have had their answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import defaultdict, deque
from pathlib import Path

import msgspec

from arint.actions import Action
from arint.bus.committer import Committer
from arint.bus.connection import Bus
from arint.bus.subjects import CALLS, bucket_of, calls
from arint.plugins import FullError
from arint.runtime.journal import Lines

log = logging.getLogger(__name__)

INTERVAL = 0.2
"""Seconds that a record may wait for others."""
MOST = 20_000
"""Records that may wait while the bus is away; then the oldest are let go."""
TOGETHER = 1000
"""Records in one message: about 200 KiB."""


class CallLog:
    """One for a process. `writer` is unique in the cluster, and at each start."""

    def __init__(self, bus: Bus, instance: str, file: Path, *, grouped: bool) -> None:
        self._committer = Committer(bus, CALLS, grouped=grouped)
        self._writer = f"{instance}-{secrets.token_hex(4)}"
        self._number = 0
        self._lines = Lines(file)
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._encode = msgspec.json.Encoder().encode
        self._loop = asyncio.get_running_loop()
        self._writing: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._lost = 0

    def record(self, action: Action) -> None:
        """Write this soon."""
        line = self._encode(action)
        if len(self._waiting) >= MOST:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append((action.root, line))
        self._lines.add(line)
        if self._writing is None:
            self._writing = self._loop.create_task(self._write_soon(), name="call log")

    async def _write_soon(self) -> None:
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), INTERVAL)
            while self._waiting:
                await self._write()
        finally:
            self._writing = None

    async def _write(self) -> None:
        """Store what waits, or as much as goes together. What the bus does not take is told of, and lost."""
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), TOGETHER))]
        buckets: dict[str, list[bytes]] = defaultdict(list)
        for root, line in taken:
            buckets[bucket_of(root)].append(line)
        for bucket, lines in buckets.items():
            self._number += 1
            try:
                await self._committer.store(calls(bucket, self._writer, self._number), b"\n".join(lines), {})
            except FullError as error:
                self._lost += len(lines)
                log.warning("%d records of immediate calls are lost so far: %s", self._lost, error)

    async def close(self) -> None:
        """Write what waits."""
        self._hurry.set()
        if self._writing is not None:
            await self._writing
        await self._committer.close()
        self._lines.close()
