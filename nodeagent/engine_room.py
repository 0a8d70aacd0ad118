"""The engines of this node: kept running, probed, and told how they stand."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from arint.engines.engine import PROBE_TIMEOUT, Engine
from arint.engines.process import keep_running
from arint.errors import ArintError, TimedOutError
from arint.operations.agent import EngineStatus
from nodeagent.full_disk import FullDisk

log = logging.getLogger(__name__)

_UNTIL_READY = 0.05
_WHEN_AWAY = 0.5
_LOOK_AT_DISK = 2.0
HUNG_AFTER = 60.0
"""Seconds without an answer after which a running engine is killed, to be started anew."""


class Keeper:
    """Keeps one engine running; `ask` raises unless it works, and is called every `interval` seconds while it does.

    `on_change` is called when it gets ready or stops being so.
    """

    def __init__(self, engine: Engine, ask: Callable[[], Awaitable[object]], on_change: Callable[[], None], *,
                 interval: float = 5.0) -> None:
        self.engine = engine
        self._ask = ask
        self._interval = interval
        self.ready = asyncio.Event()
        self.error = ""
        self._new_process = asyncio.Event()
        self._on_change = on_change
        self._full_disk = FullDisk(engine.process.log_file)
        self._starts = 0
        self._answered = time.monotonic()

    async def run(self) -> None:
        """Until cancelled; the engine is left running then."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_running())
            tasks.create_task(self._probe())
            tasks.create_task(self._heed_disk())

    async def _keep_running(self) -> None:
        while True:
            try:
                await keep_running(self.engine.process, on_started=self._started, on_ended=self._ended)
            except OSError as error:  # a full disk: the engine may run, but cannot be recorded
                self._set(f"it cannot be started: {error.strerror}")
                await asyncio.sleep(_WHEN_AWAY)

    def status(self) -> EngineStatus:
        """How it stands."""
        process = self.engine.process
        return EngineStatus(name=self.engine.name, pid=process.pid or 0, version=version(self.engine),
                            ready=self.ready.is_set(), restarts=max(0, self._starts - 1),
                            started=process.started or 0.0, memory=process.memory, error=self.error)

    async def restart(self, timeout: float) -> None:
        """Stop it gently, and wait until it is ready again. Raises TimedOutError after `timeout` seconds."""
        log.info("%s is started anew", self.engine.name)
        self._set("it is started anew")
        await self.engine.stop()
        try:
            async with asyncio.timeout(timeout):
                await self.ready.wait()
        except TimeoutError:
            raise TimedOutError(f"it is not ready {timeout:g} s after it was started anew: {self.error}",
                                where=self.engine.name, remedy=f"see {self.engine.process.log_file}") from None

    def _started(self) -> None:
        self._starts += 1
        self._new_process.set()
        self._answered = time.monotonic()
        self._full_disk.begin()
        log.info("%s runs as process %s", self.engine.name, self.engine.process.pid)

    def _ended(self, exit_code: int | None, delay: float) -> None:
        last = self.engine.process.log_tail().strip().rpartition("\n")[2][:300]
        self._set(f"it ended with {exit_code}; its log ends: {last}")
        log.warning("%s ended with %s; it is started again in %.1f s", self.engine.name, exit_code, delay)

    async def _heed_disk(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_AT_DISK)
            if self.engine.process.running and await asyncio.to_thread(self._full_disk.is_over):
                log.warning("%s met a full disk; there is room again, so it is started anew", self.engine.name)
                self._full_disk.begin()
                await self.engine.process.stop()

    def _set(self, error: str) -> None:
        self.error = error
        if self.ready.is_set() == (not error):
            return
        if error:
            self.ready.clear()
            log.warning("%s is not ready: %s", self.engine.name, error)
        else:
            self.ready.set()
            log.info("%s is ready", self.engine.name)
        self._on_change()

    async def _probe(self) -> None:
        was_ready = False
        while True:
            if self.engine.process.running:
                await self._probe_once()
            was_ready = was_ready or self.ready.is_set()
            away = _WHEN_AWAY if was_ready else _UNTIL_READY
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval if self.ready.is_set() else away):
                    await self._new_process.wait()
            self._new_process.clear()

    async def _probe_once(self) -> None:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                await self._ask()
        except TimeoutError:
            self._set(f"no answer within {PROBE_TIMEOUT:g} s")
            self._kill_hung()
        except (ArintError, OSError, ValueError, EOFError) as error:
            self._set(f"it does not answer: {error}")
            self._kill_hung()
        else:
            self._answered = time.monotonic()
            self._set("")

    def _kill_hung(self) -> None:
        if time.monotonic() - self._answered > HUNG_AFTER:
            log.error("%s gave no answer for %g s: it is killed", self.engine.name, HUNG_AFTER)
            self._answered = time.monotonic()
            self.engine.process.kill()


def version(engine: Engine) -> str:
    """The engine's version, as people write it."""
    return ".".join(str(part) for part in engine.program.version)
