"""A worker's side of the control socket: orders in, beats out; it dials again for as long as the worker lives."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from arint.flows.contracts import Contract
from arint.meters import snapshot
from arint.meters.meter import snapshots
from arint.runtime.control import Beat, Drain, Hello, Hold, Measures, Orders, encode_line, to_worker

BEAT_INTERVAL = 1.0
REDIAL_INTERVAL = 0.5
LINE_LIMIT = 64 * 1024 * 1024


class AgentLink:
    """Keeps the connection to the agent, through the agent's crashes.

    `on_orders`, `on_drain` and `on_hold` are called one after the other, in the order of the lines; `beat` tells the
    state.
    """

    def __init__(self, socket: Path, instance: str, *, on_orders: Callable[[Orders], Awaitable[None]],
                 on_drain: Callable[[float], None], on_hold: Callable[[float], None], beat: Callable[[], Beat],
                 contract: Callable[[], Contract | None] = lambda: None) -> None:
        self._socket = socket
        self._instance = instance
        self._on_orders = on_orders
        self._on_drain = on_drain
        self._on_hold = on_hold
        self._beat = beat
        self._contract = contract
        self._changed = asyncio.Event()

    def hurry(self) -> None:
        """Beat now: the state has just changed."""
        self._changed.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(str(self._socket), limit=LINE_LIMIT)
            except OSError:
                await asyncio.sleep(REDIAL_INTERVAL)
                continue
            try:
                async with asyncio.TaskGroup() as group:
                    beats = group.create_task(self._send_beats(writer))
                    await self._take_lines(reader)
                    beats.cancel()
            except* (OSError, ValueError, msgspec.MsgspecError):
                pass  # the agent went away, or spoke nonsense: dial again
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            await asyncio.sleep(REDIAL_INTERVAL)

    async def _take_lines(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            match to_worker.decode(line):
                case Orders() as orders:
                    await self._on_orders(orders)
                case Drain(grace=grace):
                    self._on_drain(grace)
                case Hold(until=until):
                    self._on_hold(until)

    async def _send_beats(self, writer: asyncio.StreamWriter) -> None:
        writer.write(encode_line(Hello(instance=self._instance, pid=os.getpid())))
        told, contract = b"", None
        while True:
            writer.write(encode_line(self._beat()))
            if contract is None and (contract := self._contract()) is not None:
                writer.write(encode_line(contract))
            counted = snapshot.encode(tuple(snapshots()))
            if counted != told:
                writer.write(encode_line(Measures(msgspec.Raw(counted))))
                told = counted
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), BEAT_INTERVAL)
            self._changed.clear()
