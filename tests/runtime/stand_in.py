"""A stand-in for the node agent: gives orders over the real socket, starts real worker processes, sees their beats."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arint.home import Home
from arint.meters import snapshot
from arint.meters.snapshot import Snapshot
from arint.runtime.control import Beat, Hello, Measures, Orders, encode_line, to_agent
from tests.patience import PATIENCE


class StandInAgent:
    """Use as an async context manager; every worker is gone at its end."""

    def __init__(self, home: Home, env: dict[str, str] | None = None) -> None:
        self.home = home
        self.orders: dict[str, Orders] = {}
        self.beats: dict[str, Beat] = {}
        self.measures: dict[str, tuple[Snapshot, ...]] = {}
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self.env = {**os.environ, **(env or {})}
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> StandInAgent:
        self.home.make_folders()
        self._server = await asyncio.start_unix_server(self._serve, str(self.home.socket))
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self.processes.values():
            if process.returncode is None:
                process.terminate()
        for process in self.processes.values():
            try:
                await asyncio.wait_for(process.wait(), PATIENCE)
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._server is not None:
            self._server.close()
        for writer in self._writers.values():
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = ""
        while line := await reader.readline():
            said = to_agent.decode(line)
            if isinstance(said, Hello):
                name = said.instance
                self._writers[name] = writer
                if name in self.orders:
                    writer.write(encode_line(self.orders[name]))
            elif name and isinstance(said, Measures):
                self.measures[name] = snapshot.decode(said.families)
            elif name and isinstance(said, Beat):
                self.beats[name] = said
        writer.close()

    def give(self, orders: Orders) -> None:
        """Give an instance new orders."""
        self.orders[orders.instance] = orders
        if orders.instance in self._writers:
            self._writers[orders.instance].write(encode_line(orders))

    async def start(self, orders: Orders, *, wait: bool = True) -> None:
        """Start the worker process of an instance, and wait until it is ready."""
        self.give(orders)
        self.beats.pop(orders.instance, None)
        log = Path(self.home.log_file(orders.instance)).open("ab")  # noqa: SIM115 - the child's, closed below
        self.processes[orders.instance] = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "arint.runtime", "--home", str(self.home.path), "--instance", orders.instance,
            stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL, env=self.env)
        log.close()
        if wait:
            await self.state(orders.instance, "ready")

    async def kill(self, instance: str) -> None:
        """kill -9."""
        process = self.processes[instance]
        process.send_signal(signal.SIGKILL)
        await process.wait()

    async def state(self, instance: str, wanted: str, deadline: float = PATIENCE) -> Beat:
        """Wait for a state."""
        return await self.until(lambda: (beat := self.beats.get(instance)) and beat.state == wanted and beat,
                                deadline, f"{instance} to be {wanted}: {self.beats.get(instance)}")

    async def until(self, condition: Callable[[], Any], deadline: float = PATIENCE, what: str = "the condition") -> Any:
        """Wait until the condition holds, and return its value."""
        end = time.monotonic() + deadline
        while not (value := condition()):
            if time.monotonic() > end:
                logs = "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-3000:]}"
                                 for file in self.home.log.iterdir())
                raise AssertionError(f"waited {deadline:g} s for {what}; {self.beats}\n{logs}")
            await asyncio.sleep(0.02)
        return value
