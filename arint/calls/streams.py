"""Bodies in parts, with backpressure: nobody sends more than the reader has room for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable

from arint.calls.frames import PART, WINDOW


class Inflow:
    """The parts that arrive; read it with `async for`. `give_credit` is told how many octets were taken."""

    def __init__(self, give_credit: Callable[[int], None]) -> None:
        self._give_credit = give_credit
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._error: BaseException | None = None
        self._news = asyncio.Event()

    def arrived(self, data: bytes, *, last: bool) -> bool:
        """One part. False if the sender sends more than it may."""
        self._parts.append(data)
        self._size += len(data)
        self._ended = last
        self._news.set()
        return self._size <= 2 * WINDOW

    def broke(self, error: BaseException) -> None:
        """There will be no more, and it is not whole."""
        if not self._ended:
            self._error = error
            self._news.set()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._parts:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        part = self._parts.popleft()
        self._size -= len(part)
        if not self._ended:
            self._give_credit(len(part))
        return part


class Outflow:
    """Sends the parts of a body as far as there is credit."""

    def __init__(self, credit: int = 0) -> None:
        self._credit = credit
        self._news = asyncio.Event()

    def more(self, octets: int) -> None:
        """The reader has taken so many."""
        self._credit += octets
        self._news.set()

    async def send(self, source: AsyncIterable[bytes], put: Callable[[bytes, bool], None]) -> None:
        """Give `put` all parts and the mark of the end. Raises what the source raises."""
        async for whole in source:
            for start in range(0, len(whole), PART):
                await self._room()
                part = bytes(whole[start:start + PART])
                self._credit -= len(part)
                put(part, False)
        await self._room()
        put(b"", True)

    async def _room(self) -> None:
        while self._credit <= 0:
            self._news.clear()
            await self._news.wait()


async def gather(source: AsyncIterable[bytes], most: int, too_large: Callable[[], BaseException]) -> bytes:
    """All of it in one piece; raises what `too_large` makes where it has more than `most` octets."""
    parts, size = [], 0
    async for part in source:
        size += len(part)
        if size > most:
            raise too_large()
        parts.append(part)
    return b"".join(parts)


async def once(body: bytes) -> AsyncIterator[bytes]:
    """A body that is there already, as a stream."""
    for start in range(0, len(body), PART):
        yield body[start:start + PART]


async def begun(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same stream with its first part made already: what fails before it is raised here, not on the way."""
    try:
        first = await anext(stream)
    except StopAsyncIteration:
        return once(b"")
    return _Begun(first, stream)


class _Begun:
    """A first part, and what follows."""

    def __init__(self, first: bytes, rest: AsyncIterator[bytes]) -> None:
        self._first: bytes | None = first
        self._rest = rest

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        first, self._first = self._first, None
        return await anext(self._rest) if first is None else first

    async def aclose(self) -> None:
        await close(self._rest)


async def close(stream: AsyncIterator[bytes]) -> None:
    """Let the one who makes the stream end; nothing where it is no generator."""
    end: Callable[[], Awaitable[None]] | None = getattr(stream, "aclose", None)
    if end is not None:
        await end()
