"""Room for large bodies: how many bytes of them one process holds at once. Who has none waits for its turn."""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import ContextVar

BUDGET = 192 * 2**20
"""Bytes that the large bodies at work take in one process; and as many for the answers that systems give."""
PLAIN = 2
"""A body takes so many times its size: itself, and a copy on its way in or out."""
PARSED = 6
"""A body of JSON that is parsed takes about so many times its size."""


class Room:
    """A number of bytes that is shared, first come, first served. What is larger than all of it takes all of it."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = self._free = budget
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def enter(self, size: int) -> int:
        """Take so many bytes, as soon as they are free; what is returned is to be given to `leave`."""
        taken = min(size, self._budget)
        if taken > self._free or self._waiting:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((taken, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.leave(taken)
                else:
                    self._waiting.remove((taken, turn))
                    self._admit()
                raise
        else:
            self._free -= taken
        return taken

    def leave(self, taken: int) -> None:
        """Give back."""
        self._free += taken
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            taken, turn = self._waiting.popleft()
            self._free -= taken
            turn.set_result(None)


class Stay:
    """What one attempt holds of the room: for the body that it works at, and for the answer that it is given.

    The two have rooms of their own: nobody who has the one and waits for the other waits for somebody who does so too.
    """

    def __init__(self, bodies: Room, answers: Room) -> None:
        self._bodies, self._answers = bodies, answers
        self._body = self._answer = 0

    async def for_body(self, size: int) -> None:
        """Wait for room for the body of the message."""
        self._body = await self._bodies.enter(size)

    async def for_answer(self, size: int) -> None:
        """Wait for room for a large answer; once for an attempt."""
        if not self._answer:
            self._answer = await self._answers.enter(size)

    def end(self) -> None:
        """Give all of it back."""
        if self._body:
            self._bodies.leave(self._body)
        if self._answer:
            self._answers.leave(self._answer)
        self._body = self._answer = 0


current: ContextVar[Stay] = ContextVar("arint_stay")
"""That of the attempt which is being made."""
