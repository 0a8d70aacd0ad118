import asyncio

import pytest

from arint.runtime.within import within


async def at_once(value):
    return value


async def later(seconds, value):
    await asyncio.sleep(seconds)
    await asyncio.sleep(0)
    return value


async def test_the_result_comes_through_whether_it_waits_or_not():
    assert await within(5, at_once(1)) == 1
    assert await within(5, later(0, 2)) == 2
    assert await within(5, later(0.001, 3)) == 3


async def test_what_it_raises_comes_through():
    async def fails(wait):
        if wait:
            await asyncio.sleep(0)
        raise KeyError("x")

    for wait in (False, True):
        with pytest.raises(KeyError):
            await within(5, fails(wait))


async def test_a_late_one_is_cancelled_and_may_clean_up():
    cleaned = []

    async def hangs():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    with pytest.raises(TimeoutError):
        await within(0.01, hangs())
    assert cleaned


async def test_a_cancellation_from_outside_stays_one():
    task = asyncio.create_task(within(5, later(5, None)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_time_limits_and_tasks_within_work():
    async def has_its_own():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.sleep(1)
        async with asyncio.TaskGroup() as group:
            one = group.create_task(later(0, 4))
        return one.result()

    assert await within(5, has_its_own()) == 4
