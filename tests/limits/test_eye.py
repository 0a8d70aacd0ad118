"""Without control groups: limits of each process, and the agent's eye over all of them. The processes are real."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from arint.engines.process import Process
from arint.engines.procfs import all_stats, with_variable
from arint.home import Home
from arint.limits.ceiling import Ceiling
from arint.limits.fence import MARK, EyeFence, Look
from tests.patience import PATIENCE

LEAK = "import time\nkept = []\nwhile True: kept.append(bytearray(2**20)); time.sleep(0.001)"
CHILDREN = """
import subprocess, time
subprocess.Popen(["sleep", "300"], start_new_session=True)
subprocess.run(["sh", "-c", "setsid sleep 300 & exit 0"])
print("up", flush=True)
time.sleep(300)
"""


class Fenced:
    """A process of a home behind an EyeFence."""

    def __init__(self, folder: Path, code: str, ceiling: Ceiling) -> None:
        self.home = Home(folder / "home")
        self.home.make_folders()
        self.mark = f"{self.home.path}/a-1"
        self.fence = EyeFence(ceiling, self.mark, 0)
        self.process = Process(self.home, "a-1", [sys.executable, "-c", code], env={MARK: self.mark}, fence=self.fence)

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not true():
                await asyncio.sleep(0.01)

    def living(self) -> list[int]:
        stats = all_stats()
        return [pid for pid in with_variable(f"{MARK}={self.mark}".encode()) if pid in stats and not stats[pid].is_dead]


async def test_a_leak_is_seen_and_the_reason_kept(tmp_path: Path) -> None:
    one = Fenced(tmp_path, LEAK, Ceiling(2**26))
    one.process.start()
    await one.until(lambda: one.fence.look(Look()))
    one.process.kill()
    await one.process.wait()
    assert one.process.ended_by == "it used its 64 MiB: ended by the agent (see resources.memory)"
    assert one.fence.look(Look()) == ""


async def test_a_process_may_not_map_without_bound(tmp_path: Path) -> None:
    one = Fenced(tmp_path, "x = bytearray(8 * 2**30)", Ceiling(2**26))
    one.process.start()
    await one.process.wait()
    assert "MemoryError" in one.process.log_tail()


async def test_children_count_and_end_with_it_wherever_they_went(tmp_path: Path) -> None:
    one = Fenced(tmp_path, CHILDREN, Ceiling(2**30, processes=2))
    one.process.start()
    await one.until(lambda: "up" in one.process.log_tail())
    await one.until(lambda: len(one.living()) == 3)
    assert "3 processes and threads of the 2 allowed" in one.fence.look(Look(for_strays=True))
    assert one.fence.near
    one.process.kill()
    await one.process.wait()
    await one.until(lambda: not one.living())


@pytest.mark.parametrize("adopted", [False, True])
async def test_what_it_left_ends_when_it_crashes(tmp_path: Path, adopted: bool) -> None:
    one = Fenced(tmp_path, CHILDREN, Ceiling(2**30))
    one.process.start()
    await one.until(lambda: len(one.living()) == 3)
    process = one.process
    if adopted:
        process.release()
        process = Process(one.home, "a-1", one.process.argv, env={MARK: one.mark},
                          fence=EyeFence(Ceiling(2**30), one.mark, 0))
        assert process.adopt()
    assert process.pid is not None
    process.send(signal.SIGKILL)
    await process.wait()
    await one.until(lambda: not one.living())
    assert process.ended_by == ""


async def test_a_limit_may_be_raised_while_it_runs(tmp_path: Path) -> None:
    one = Fenced(tmp_path, "import time; time.sleep(300)", Ceiling(2**26))
    one.process.start()
    assert one.process.pid is not None
    before = resource.prlimit(one.process.pid, resource.RLIMIT_DATA)[0]
    one.fence.limit(Ceiling(2**30))
    assert resource.prlimit(one.process.pid, resource.RLIMIT_DATA)[0] > before
    one.process.kill()
    await one.process.wait()
