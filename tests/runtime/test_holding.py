"""A worker that may run only once ends by its own clock: gently if it can, by force if it is stuck."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time

from arint.runtime.holding import LEAVE_BEFORE, Deadline

_STUCK = """
import asyncio, subprocess, sys, time
from arint.runtime.holding import Deadline
async def main():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print(child.pid, flush=True)
    Deadline(lambda: None).hold(time.clock_gettime(time.CLOCK_BOOTTIME) + 0.3)
    time.sleep(60)
asyncio.run(main())
"""


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def test_it_leaves_before_the_deadline_and_not_while_it_is_held():
    left = asyncio.Event()
    deadline = Deadline(left.set)
    begun = now()
    deadline.hold(begun + 0.8)
    deadline.hold(begun + 1.2)
    deadline.hold(begun + 0.1)  # an older word that comes late takes nothing away
    await asyncio.wait_for(left.wait(), 5)
    gone = now() - begun
    deadline.hold(begun + 3600)  # or this test would end here
    assert 1.2 - LEAVE_BEFORE - 0.05 <= gone < 1.2


def test_one_that_is_stuck_is_killed_with_what_it_started():
    begun = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", _STUCK], stdout=subprocess.PIPE, text=True,
                          start_new_session=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert process.wait(timeout=20) == -signal.SIGKILL
    assert time.monotonic() - begun < 20
    deadline = time.monotonic() + 10
    while _lives(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    from arint.engines.procfs import start_time

    return start_time(pid) is not None
