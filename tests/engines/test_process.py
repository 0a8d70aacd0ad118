"""Processes: start, end, stop, adoption after the supervisor's death, strays, nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arint.engines.process import MARK, Backoff, Process, keep_running
from arint.engines.procfs import read_stat, start_time
from arint.errors import NotFoundError
from arint.home import Home
from tests.patience import PATIENCE

SLEEPER = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(300)")
STUBBORN = (sys.executable, "-c",
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True);"
            "time.sleep(300)")
PARENT = (sys.executable, "-c",
          "import subprocess, time; print(subprocess.Popen(['sleep', '300']).pid, flush=True); time.sleep(300)")


async def printed(process: Process, deadline: float = PATIENCE) -> str:
    async with asyncio.timeout(deadline):
        while not process.log_tail().endswith("\n"):
            await asyncio.sleep(0.01)
    return process.log_tail()


async def gone(pid: int, deadline: float = PATIENCE) -> None:
    async with asyncio.timeout(deadline):
        while start_time(pid) is not None:
            await asyncio.sleep(0.01)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make_folders()
    return home


@pytest.fixture
async def sleeper(home: Home) -> AsyncIterator[Process]:
    process = Process(home, "sleeper", SLEEPER)
    yield process
    process.kill()
    await process.wait()


async def test_starts_detached_logs_and_stops(home: Home, sleeper: Process) -> None:
    sleeper.start()
    assert sleeper.pid is not None
    assert os.getsid(sleeper.pid) == sleeper.pid
    assert await printed(sleeper) == "up\n"
    assert sleeper.memory > 1024 * 1024
    assert home.log_file("sleeper").stat().st_mode & 0o777 == 0o600
    assert await sleeper.stop()
    assert sleeper.exit_code == -signal.SIGTERM
    assert not sleeper.running
    assert sleeper.pid is None
    assert not home.pid_file("sleeper").exists()


async def test_a_second_start_does_nothing(sleeper: Process) -> None:
    sleeper.start()
    pid = sleeper.pid
    sleeper.start()
    assert sleeper.pid == pid


async def test_stubborn_is_killed_after_the_grace(home: Home) -> None:
    process = Process(home, "stubborn", STUBBORN)
    process.start()
    await printed(process)
    assert not await process.stop(grace=0.2)
    assert process.exit_code == -signal.SIGKILL


async def test_stopped_process_can_be_stopped(sleeper: Process) -> None:
    sleeper.start()
    await printed(sleeper)
    sleeper.send(signal.SIGSTOP)
    async with asyncio.timeout(PATIENCE):
        while (stat := read_stat(sleeper.pid or 0)) is None or stat.state != "T":
            await asyncio.sleep(0.01)
    assert not await sleeper.stop(grace=0.2)


@pytest.mark.parametrize("adopted", [False, True])
async def test_children_do_not_outlive_it(home: Home, adopted: bool) -> None:
    process = Process(home, "parent", PARENT)
    process.start()
    child = int(await printed(process))
    pid = process.pid
    assert pid is not None
    if adopted:
        process.release()
        process = Process(home, "parent", PARENT)
        assert process.adopt()
    os.kill(pid, signal.SIGKILL)
    await process.wait()
    await gone(child)


async def test_missing_program_and_missing_permission(home: Home, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="/no/such/program"):
        Process(home, "none", ["/no/such/program"]).start()
    assert not home.pid_file("none").exists()


async def test_adopted_by_the_next_supervisor(home: Home, sleeper: Process) -> None:
    """A supervisor of its own process starts it and is killed; the next one takes it over."""
    code = f"""
import asyncio, sys
from arint.engines.process import Process
from arint.home import Home
async def main():
    process = Process(Home({str(home.path)!r}), "sleeper", {SLEEPER!r})
    process.start()
    print(process.pid, flush=True)
    await process.wait()
asyncio.run(main())
"""
    supervisor = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout is not None
    pid = int(supervisor.stdout.readline())
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    assert sleeper.adopt()
    assert sleeper.pid == pid
    assert not sleeper.outdated
    sleeper.start()
    assert sleeper.pid == pid
    assert await sleeper.stop()
    assert sleeper.exit_code is None
    await gone(pid)


async def test_another_command_is_seen_as_outdated(home: Home, sleeper: Process) -> None:
    sleeper.start()
    sleeper.release()
    other = Process(home, "sleeper", SLEEPER, env={"A": "1"})
    assert other.adopt()
    assert other.outdated
    await other.stop()


async def test_stray_without_pid_file_is_found(home: Home, sleeper: Process) -> None:
    sleeper.start()
    pid = sleeper.pid
    sleeper.release()
    home.pid_file("sleeper").unlink()
    again = Process(home, "sleeper", SLEEPER)
    assert again.adopt()
    assert again.pid == pid
    await again.stop()


async def test_a_grandchild_with_the_mark_is_no_stray(home: Home, sleeper: Process) -> None:
    child = subprocess.Popen(["sleep", "300"], env={MARK: str(home.pid_file("sleeper"))})
    try:
        assert not sleeper.adopt()
    finally:
        child.kill()
        child.wait()


async def test_a_reused_pid_is_not_adopted(home: Home, sleeper: Process) -> None:
    sleeper.start()
    sleeper.release()
    file = home.pid_file("sleeper")
    mine = file.read_text().replace(f'"pid":{(pid := _pid(file))}', f'"pid":{os.getpid()}')
    file.write_text(mine)
    os.kill(pid, signal.SIGKILL)
    await gone(pid)
    again = Process(home, "sleeper", SLEEPER)
    assert not again.adopt()
    assert not file.exists()


def _pid(file: Path) -> int:
    import msgspec

    return int(msgspec.json.decode(file.read_bytes())["pid"])


@pytest.mark.parametrize("content", ["", "{", '{"pid": 1}', "null"])
async def test_a_damaged_pid_file_is_no_process(home: Home, sleeper: Process, content: str) -> None:
    home.pid_file("sleeper").write_text(content)
    assert not sleeper.adopt()


async def test_works_without_pidfd(home: Home, sleeper: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise PermissionError(1, "no")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    sleeper.start()
    await printed(sleeper)
    assert await sleeper.stop()
    assert sleeper.exit_code == -signal.SIGTERM


async def test_keep_running_starts_again_and_leaves_it_at_the_end(home: Home, sleeper: Process) -> None:
    starts: list[int | None] = []
    ends: list[int | None] = []
    task = asyncio.create_task(keep_running(
        sleeper, backoff=Backoff(first=0.01), on_started=lambda: starts.append(sleeper.pid),
        on_ended=lambda code, delay: ends.append(code)))
    for round_ in range(1, 4):
        async with asyncio.timeout(PATIENCE):
            while len(starts) < round_:
                await asyncio.sleep(0.01)
        if round_ < 3:
            sleeper.send(signal.SIGKILL)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(set(starts)) == 3
    assert ends == [-9, -9]
    assert sleeper.running


async def test_keep_running_notes_a_missing_program(home: Home) -> None:
    process = Process(home, "none", ["/no/such/program"])
    task = asyncio.create_task(keep_running(process, backoff=Backoff(first=0.01)))
    assert "/no/such/program" in await printed(process)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_backoff_doubles_up_to_its_most_and_forgives() -> None:
    backoff = Backoff(first=0.5, most=4.0, healthy_after=10.0)
    assert [backoff.delay(n) for n in (1, 2, 3, 4, 5, 5000)] == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert backoff.failures_after(5, 1.0) == 6
    assert backoff.failures_after(5, 11.0) == 1


def test_works_on_uvloop_beside_grpc(home: Home) -> None:
    """The agent's own surroundings: gRPC's threads live while processes are started and reaped."""
    import grpc.aio
    import uvloop

    async def main() -> None:
        async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
            channel.get_state(try_to_connect=True)
            for _ in range(5):
                process = Process(home, "quick", [sys.executable, "-c", "print('up')"])
                process.start()
                async with asyncio.timeout(PATIENCE):
                    assert await process.wait() == 0

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    assert home.log_file("quick").read_text() == "up\n" * 5
