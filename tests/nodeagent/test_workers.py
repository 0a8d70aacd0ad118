"""One worker: what its state is at each moment of its life. The processes are real."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from arint.engines.process import Backoff, Process
from arint.home import Home
from arint.runtime.control import Beat, BusSettings, Drain, Orders, ToWorker
from nodeagent.orders import Task
from nodeagent.workers import Worker
from tests.patience import PATIENCE

SLEEPS = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(0)); time.sleep(60)"
ORDERS = Orders(instance="a-1", node="n1", role="service", bus=BusSettings((), "", "", ""), home="/", change_set=3)


class FakeLink:
    def __init__(self) -> None:
        self.sent: list[ToWorker] = []

    def send(self, line: ToWorker) -> None:
        self.sent.append(line)


@asynccontextmanager
async def running(tmp_path: Path, program: str, **more: float) -> AsyncIterator[Worker]:
    home = Home(tmp_path / "home")
    home.make_folders()
    process = Process(home, "a-1", [sys.executable, "-c", program])
    worker = Worker(Task("a-1", "a"), "v1", "n1", process, lambda: None, backoff=Backoff(first=0.01, most=0.05), **more)
    run = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        run.cancel()
        await asyncio.wait([run])
        process.kill()
        await process.wait()


async def until(true: Callable[[], object], within: float = PATIENCE) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.01)


async def test_from_start_to_ready_to_drained(tmp_path: Path) -> None:
    async with running(tmp_path, SLEEPS) as worker:
        await until(lambda: worker.process.running)
        assert (worker.state, worker.starts, worker.restarts) == ("starting", 1, 0)
        worker.give(ORDERS)
        link = FakeLink()
        worker.connected(link)
        worker.give(ORDERS)
        assert link.sent == [ORDERS], "the same orders are not sent again"
        worker.heard(Beat("ready", change_set=3, processed=5))
        assert (worker.state, worker.change_set, worker.registration().processed) == ("ready", 3, 5)
        draining = asyncio.create_task(worker.drain(0.1))
        await until(lambda: worker.state == "draining")
        await draining
        assert link.sent[-1] == Drain(0.1)
        assert not worker.process.running


async def test_one_that_ends_again_and_again_has_failed_with_its_last_words(tmp_path: Path) -> None:
    async with running(tmp_path, "raise SystemExit('no such database')") as worker:
        worker.give(ORDERS)
        await until(lambda: worker.state == "failed")
        assert "it ended with code 1" in worker.error
        assert "no such database" in worker.error
        assert worker.change_set == 3


async def test_one_that_hangs_is_killed_and_started_again(tmp_path: Path) -> None:
    async with running(tmp_path, SLEEPS, silence=0.3) as worker:
        await until(lambda: worker.process.running)
        pid = worker.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: worker.starts == 2)
        assert worker.error == "no beat for 0.3 s: it was killed"
        assert not Path(f"/proc/{pid}").exists()
        worker.heard(Beat("ready"))
        assert (worker.state, worker.error) == ("ready", "")


async def test_refused_orders_are_told_until_there_are_better_ones(tmp_path: Path) -> None:
    async with running(tmp_path, SLEEPS) as worker:
        await until(lambda: worker.process.running)
        worker.heard(Beat("ready", change_set=3))
        worker.refuse("the code is not here", 4)
        assert (worker.state, worker.error, worker.change_set) == ("failed", "the code is not here", 4)
        worker.give(ORDERS)
        assert (worker.state, worker.error, worker.change_set) == ("ready", "", 3)


async def test_an_old_connection_that_ends_late_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, SLEEPS) as worker:
        first, second = FakeLink(), FakeLink()
        worker.connected(first)
        worker.connected(second)
        worker.disconnected(first)
        worker.give(ORDERS)
        assert second.sent == [ORDERS]


@pytest.mark.parametrize("said", ["starting", "failed"])
async def test_its_own_word_counts(tmp_path: Path, said: str) -> None:
    async with running(tmp_path, SLEEPS) as worker:
        await until(lambda: worker.process.running)
        worker.heard(Beat(said, error="x"))  # type: ignore[arg-type]
        assert (worker.state, worker.error) == (said, "x")
