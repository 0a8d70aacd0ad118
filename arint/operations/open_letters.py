"""How many dead letters wait for somebody: asked beside the looks at the cluster, which it never holds up for long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from arint.errors import ArintError, NotFoundError

if TYPE_CHECKING:
    from arint.operations.connect import Link

PATIENCE = 0.5
"""Seconds that a look waits for the answer; after that the last one known is told, and the question goes on."""

Question = Callable[[], Awaitable[int | None]]


async def open_letters(link: Link) -> int | None:
    """The dead letters that nobody has replayed or dropped: one for each place at which a message died.

    None where the broker does not tell.
    """
    from arint.bus.streams import state
    from arint.bus.subjects import DEAD

    try:
        return (await state(await link.bus(), DEAD)).subjects
    except NotFoundError:  # the stream is made with the first flow
        return 0
    except (ArintError, OSError):
        return None


class OpenLetters:
    """Asks one question at a time, for as long as it is entered; `latest` is what is known of it."""

    def __init__(self, ask: Question) -> None:
        self._ask = ask
        self._asked: asyncio.Task[int | None] | None = None
        self._known: int | None = None

    async def __aenter__(self) -> OpenLetters:
        return self

    async def __aexit__(self, *failure: object) -> None:
        if self._asked is not None:
            self._asked.cancel()
            await asyncio.wait({self._asked})
            self._asked = None

    async def latest(self) -> int | None:
        """The newest answer that came within PATIENCE, else the one before it."""
        if self._asked is None:
            self._asked = asyncio.ensure_future(self._ask())
        await asyncio.wait({self._asked}, timeout=PATIENCE)
        if self._asked.done():
            self._known, self._asked = self._asked.result(), None
        return self._known
