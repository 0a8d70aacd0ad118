"""Groups with large members are made one message of in the room for large bodies: how many at once is bounded."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from arint.flows.groups import Group, Member, Reason
from arint.room import PARSED, Room, Stay
from arint.runtime.gathering import COMPLETING, Gathered, Gathering

MIB = 2**20


class Watched(Gathering):
    """A gathering of which only `_complete` is real; `most` groups were made one message of at once."""

    def __init__(self, room: Room, answers: str = "subject") -> None:
        self._all, self._desk = Gathered(), SimpleNamespace(stay=lambda: Stay(room, Room()))  # type: ignore[assignment]
        self.room, self.answers = room, answers
        self.now = self.most = 0
        self.settled: list[str] = []

    async def _make_one(self, group: Group, reason: Reason | None) -> str:
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(5):
            await asyncio.sleep(0)
        self.now -= 1
        return self.answers

    async def _settle(self, group: Group, into: str) -> None:
        self.settled.append(group.key)

    async def _sort_out(self, group: Group) -> None:
        """Its group may be completed again before this ends."""
        self.answers = "subject"
        await self._complete(group, "size")


def groups(count: int, octets: int) -> list[Group]:
    made = [Group(f"k{number}") for number in range(count)]
    for sequence, group in enumerate(made):
        group.add(Member(sequence, 0.0, octets, sequence))
    return made


@pytest.mark.parametrize(("octets", "most"), [(8 * MIB, 4), (64 * MIB, 1), (1000, COMPLETING)])
async def test_no_more_than_fit_into_the_room_at_once(octets: int, most: int) -> None:
    room = Room(192 * MIB)
    gathering = Watched(room)
    async with asyncio.timeout(10):
        await asyncio.gather(*(gathering._complete(group, "size") for group in groups(20, octets)))
    assert gathering.most == most
    assert len(gathering.settled) == 20
    assert await room.enter(192 * MIB) == 192 * MIB, "all of it was given back"


async def test_a_group_that_the_broker_refused_waits_for_nobody_who_waits_for_it() -> None:
    gathering = Watched(Room(8 * MIB * PARSED), answers="")
    async with asyncio.timeout(10):
        await asyncio.gather(*(gathering._complete(group, "size") for group in groups(20, 8 * MIB)))
    assert len(gathering.settled) == 20
