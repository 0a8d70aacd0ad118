"""Room for large bodies: never more than there is, first come first served, and nothing is lost by who leaves early."""

from __future__ import annotations

import asyncio
import random

from arint.room import Room, Stay
from tests.patience import PATIENCE


async def test_never_more_than_there_is_whoever_leaves_early() -> None:
    room, held, most = Room(100), 0, 0
    dice = random.Random(7)

    async def one(size: int, patience: float) -> None:
        nonlocal held, most
        taken = await room.enter(size)
        held += taken
        most = max(most, held)
        try:
            await asyncio.sleep(patience)
        finally:
            held -= taken
            room.leave(taken)

    tasks = [asyncio.create_task(one(dice.randint(1, 130), dice.random() / 200)) for _ in range(300)]
    for task in dice.sample(tasks, 150):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert most <= 100
    assert held == 0
    assert await asyncio.wait_for(room.enter(100), 1) == 100


async def test_what_is_larger_than_all_of_it_takes_all_and_nobody_passes_it() -> None:
    room = Room(100)
    first = await room.enter(10)
    large = asyncio.create_task(room.enter(1000))
    small = asyncio.create_task(room.enter(1))
    await asyncio.sleep(0)
    assert not large.done()
    room.leave(first)
    assert await large == 100
    await asyncio.sleep(0)
    assert not small.done()
    room.leave(100)
    assert await small == 1


async def test_bodies_and_answers_do_not_wait_for_each_other() -> None:
    bodies, answers = Room(100), Room(100)

    async def attempt() -> None:
        stay = Stay(bodies, answers)
        await stay.for_body(60)
        await asyncio.sleep(0)
        await stay.for_answer(60)
        await asyncio.sleep(0)
        stay.end()
        stay.end()

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(attempt() for _ in range(20)))
    assert await bodies.enter(100) == await answers.enter(100) == 100
