"""One worker process: kept running, given its orders, watched by its beats, drained at its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from arint.availability.model import State
from arint.engines.process import Backoff, Process, keep_running
from arint.flows.contracts import Contract
from arint.limits.fence import Look
from arint.registry.records import Registration
from arint.runtime.control import Beat, Drain, Hold, Orders, ToWorker
from nodeagent.orders import Task

SILENCE = 30.0
"""Seconds without a beat after which a worker is taken for hung, and killed."""
CRASHES = 3
"""Ends in a row, none of them asked for, after which an instance counts as failed."""
FORGIVEN_AFTER = 10.0
"""A worker that was ready for so many seconds begins anew when it ends."""
KILL_AFTER = 5.0
"""Seconds that a drained worker may take beyond its grace."""


class LastEnd(msgspec.Struct, frozen=True):
    """When a process last ended without being asked to (seconds since the epoch), and why; told when it is back too."""

    at: float = 0.0
    why: str = ""


class Link(Protocol):
    """The connection of a worker that has said Hello."""

    def send(self, line: ToWorker) -> None:
        """Send a line, or drop the connection if the worker does not read."""
        ...


class Worker:
    """The worker of one assignment. `on_change` is called when what it `registration()`s may have changed.

    Use: `run()` in a task of its own until it is to stop; then cancel that, and `drain()`.
    """

    def __init__(self, task: Task, version: str, node: str, process: Process, on_change: Callable[[], None], *,
                 user: int | None = None, silence: float = SILENCE, backoff: Backoff | None = None) -> None:
        self.task = task
        self.user = os.geteuid() if user is None else user
        """Who its process may be."""
        self.version = version
        self.process = process
        self.starts = 0
        self.beat: Beat | None = None
        self.orders: Orders | None = None
        self._hold: Hold | None = None
        self.measures: bytes = b""
        self.contract: Contract | None = None
        self._node = node
        self._on_change = on_change
        self._silence = silence
        self._backoff = backoff
        self._link: Link | None = None
        self._heard = time.monotonic()
        self._crashes = 0
        self._draining = False
        self._refused = ""
        self._refused_set = 0
        self._waits_for = ""
        self._ready_since: float | None = None
        self._why_killed = ""
        self._ended = ""
        self._program_ends = 0
        self.last_end = LastEnd()

    async def run(self) -> None:
        """Keep the process running, and kill it when it hangs, until cancelled; it is left running then."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep_running(self.process, backoff=self._backoff, on_started=self._started,
                                           on_ended=self._has_ended))
            tasks.create_task(self._watch_beats())

    def look(self, look: Look) -> None:
        """End it if it uses more than it may."""
        fence = self.process.fence
        why = fence.look(look) if fence is not None and self.process.running else ""
        if why:
            self._why_killed = why
            self.process.kill()

    async def drain(self, grace: float) -> None:
        """Ask it to finish what it has begun within `grace` seconds and leave; then by force."""
        self._draining = True
        self._on_change()
        if self._link is None:
            await self.process.stop(grace + KILL_AFTER)  # SIGTERM: one that has not said Hello drains by it too
            return
        self._link.send(Drain(grace))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self.process.wait()
        await self.process.stop(KILL_AFTER)

    @property
    def state(self) -> State:
        """Where it stands, as the agent sees it."""
        if self._draining:
            return "draining"
        if self._refused:
            return "failed"
        said = self.beat.state if self.beat is not None and self.process.running else "starting"
        return "failed" if said == "starting" and self._crashes >= CRASHES else said

    @property
    def error(self) -> str:
        """Why it failed, what it waits for, or how it last ended; empty once it is ready again."""
        said = self.beat.error if self.beat is not None else ""
        return self._refused or said or self._waits_for or self._ended

    @property
    def change_set(self) -> int:
        """The change set that its state is about."""
        if self._refused:
            return self._refused_set
        if self.beat is not None:
            return self.beat.change_set
        return self.orders.change_set if self.orders is not None and self.state == "failed" else 0

    @property
    def restarts(self) -> int:
        """How often it, or the program that it runs, had to be started again."""
        return max(0, self.starts - 1) + self._program_ends

    def registration(self) -> Registration:
        """What the cluster is told about it."""
        beat = self.beat or Beat(state="starting")
        return Registration(
            instance=self.task.instance, service=self.task.service, version=self.version, node=self._node,
            state=self.state, pid=self.process.pid or 0, error=self.error, processed=beat.processed,
            failed=beat.failed, dead=beat.dead, accepted=beat.accepted, in_flight=beat.in_flight)

    def give(self, orders: Orders) -> None:
        """From now on these are its orders; nothing is sent where they are the same."""
        self._refused = self._waits_for = ""
        if orders != self.orders:
            self.orders = orders
            if self._link is not None:
                self._link.send(orders)

    def hold(self, until: float) -> None:
        """It may run until then (seconds of CLOCK_BOOTTIME), and ends by itself unless this is said again before."""
        self._hold = Hold(until)
        if self._link is not None:
            self._link.send(self._hold)

    def refuse(self, why: str, change_set: int) -> None:
        """No orders can be made for it; it goes on with those it has, if any, and is shown as failed."""
        if (why, change_set) != (self._refused, self._refused_set):
            self._refused, self._refused_set = why, change_set
            self._on_change()

    def wait_for(self, what: str) -> None:
        """It cannot start yet; it goes on with the orders that it has, if any."""
        self._refused = ""
        if what != self._waits_for:
            self._waits_for = what
            self._on_change()

    def connected(self, link: Link) -> None:
        """It has said Hello, on this connection."""
        self._link = link
        self._heard = time.monotonic()
        if self._hold is not None:
            link.send(self._hold)  # before any work
        if self._draining:
            link.send(Drain())
        elif self.orders is not None:
            link.send(msgspec.structs.replace(self.orders, ended=self.last_end.why))

    def disconnected(self, link: Link) -> None:
        """That connection is gone; another may have come before."""
        if self._link is link:
            self._link = None

    def heard(self, beat: Beat) -> None:
        """It beats."""
        self._heard = time.monotonic()
        before, self.beat = self.beat, beat
        if before is not None and beat.restarts > before.restarts:
            self._program_ends += beat.restarts - before.restarts
            self.last_end = LastEnd(at=time.time(), why=beat.last_end)
        if beat.state == "ready":
            self._ended = ""
            self._ready_since = self._ready_since or self._heard
        if before != beat:
            self._on_change()

    def agrees(self, contract: Contract) -> None:
        """What it takes and returns."""
        if contract != self.contract:
            self.contract = contract
            self._on_change()

    def measured(self, families: bytes) -> None:
        """What it has counted by now: kept as it came, until somebody asks."""
        self.measures = families

    def _started(self) -> None:
        self.starts += 1
        self.beat = self._ready_since = None
        self.measures = b""
        self._heard = time.monotonic()
        self._on_change()

    def _has_ended(self, exit_code: int | None, delay: float) -> None:
        forgiven = self._ready_since is not None and time.monotonic() - self._ready_since >= FORGIVEN_AFTER
        self._crashes = 1 if forgiven else self._crashes + 1
        why = self._why_killed or self.process.ended_by
        self._ended = why or f"it ended with {_told(exit_code)}; its log ends:\n{_tail(self.process)}"
        self.last_end = LastEnd(at=time.time(), why=why or f"it ended with {_told(exit_code)}")
        self.process.note(f"{self.last_end.why}; it is started again in {delay:.2g} s")
        self._why_killed = ""
        self.beat = self._ready_since = None
        self._on_change()

    async def _watch_beats(self) -> None:
        while True:
            silent = time.monotonic() - self._heard
            if self.process.running and silent >= self._silence:
                self._why_killed = f"no beat for {self._silence:g} s: it was killed"
                self._heard = time.monotonic()
                self.process.kill()
            await asyncio.sleep(min(1.0, self._silence / 4))


def _told(exit_code: int | None) -> str:
    if exit_code is None:
        return "a code that is not known"
    return f"signal {-exit_code}" if exit_code < 0 else f"code {exit_code}"


def _tail(process: Process) -> str:
    return "\n".join(process.log_tail().strip().splitlines()[-15:])
