from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from arint.engines.logs import rotate
from nodeagent.logs import lines
from tests.patience import PATIENCE


async def last(file: Path, count: int) -> list[str]:
    return [line async for line in lines(file, count, follow=False)]


async def test_the_last_lines_also_from_the_file_rotated_before(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    assert await last(file, 5) == []
    file.write_text("".join(f"line {number}\n" for number in range(50_000)))
    assert await last(file, 2) == ["line 49998", "line 49999"]
    rotate(file)
    with file.open("a") as more:
        more.write("new\nnot yet ended")
    assert await last(file, 3) == ["line 49999", "new", "not yet ended"]
    assert await last(file, 0) == []


async def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_bytes(b"x" * 50_000_000)
    assert sum(map(len, await last(file, 10))) < 2_000_000


@pytest.mark.timeout(30)
async def test_following_goes_on_over_a_rotation(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_text("old\n")
    found: list[str] = []
    seen = asyncio.Event()

    async def follow() -> None:
        async for line in lines(file, 1, follow=True):
            found.append(line)
            seen.set()

    async def until(count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(found) < count:
                seen.clear()
                await seen.wait()

    following = asyncio.create_task(follow())
    await until(1)
    with file.open("a") as more:
        more.write("whole\nhalf")
        more.flush()
        await until(2)
        more.write(" and half\n")
        more.flush()
        await until(3)
    rotate(file)
    await asyncio.sleep(0.5)  # longer than a look: the rotation is seen before the file has grown as long again
    with file.open("a") as more:
        more.write("after\n")
    await until(4)
    following.cancel()
    assert found == ["old", "whole", "half and half", "after"]
