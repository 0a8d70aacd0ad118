"""Logs stay small, whatever is printed."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from arint.engines.logs import keep_logs_small, rotate
from arint.engines.process import Process
from arint.home import Home
from tests.patience import PATIENCE


def test_rotate_keeps_the_end_and_a_bounded_number(tmp_path: Path) -> None:
    file = tmp_path / "x.log"
    for number in range(5):
        file.write_bytes(b"a" * 100 + str(number).encode() * 10)
        rotate(file, limit=10, kept=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.log", "x.log.1", "x.log.2"]
    assert file.read_bytes() == b""
    assert (tmp_path / "x.log.1").read_bytes() == b"4" * 10
    assert (tmp_path / "x.log.2").read_bytes() == b"3" * 10
    assert (tmp_path / "x.log.1").stat().st_mode & 0o777 == 0o600


def test_rotate_may_keep_nothing(tmp_path: Path) -> None:
    file = tmp_path / "x.log"
    file.write_bytes(b"a" * 100)
    rotate(file, limit=10, kept=0)
    assert [path.name for path in tmp_path.iterdir()] == ["x.log"]


async def test_a_process_that_prints_a_gigabyte(tmp_path: Path) -> None:
    """The disk never holds much of it, and what it prints last is there in the end."""
    home = Home(tmp_path / "home")
    home.make_folders()
    code = "import sys\nfor _ in range(1024): sys.stdout.write('x' * 1048575 + '\\n')\nprint('the end', flush=True)"
    process = Process(home, "chatty", [sys.executable, "-c", code])
    keeper = asyncio.create_task(keep_logs_small(home.log, limit=1024**2, kept=2))
    process.start()
    ended = asyncio.create_task(process.wait())
    most = 0
    while not ended.done():
        with suppress(FileNotFoundError):  # it was renamed between the two looks
            most = max(most, sum(file.stat().st_blocks * 512 for file in home.log.iterdir()))
        await asyncio.sleep(0.01)
    assert process.exit_code == 0
    async with asyncio.timeout(PATIENCE):
        while (home.log / "chatty.log").stat().st_size > 1024**2:
            await asyncio.sleep(0.01)
    keeper.cancel()
    await asyncio.gather(keeper, return_exceptions=True)
    assert most < 500 * 1024**2
    assert sum(file.stat().st_size for file in home.log.iterdir()) <= 3 * 1024**2
    tail = b"".join(file.read_bytes()[-100:] for file in home.log.iterdir())
    assert b"the end" in tail


async def test_a_folder_that_goes_away_ends_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await keep_logs_small(tmp_path / "none")
