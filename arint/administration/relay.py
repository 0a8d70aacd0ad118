"""A node's agent, asked over the bus: each question goes to the agent's socket, and the answer back."""

from __future__ import annotations

import logging

import msgspec

from arint.bus import subjects
from arint.bus.connection import Bus, Request, Subscription
from arint.errors import ArintError, UnreachableError
from arint.failures import tell
from arint.operations.agent import Agent

log = logging.getLogger(__name__)
MOST = 64
"""Questions at once."""
WITHIN = 5.0
_FAILED = {"Arint-Failed": "1"}
"""An answer with a header is an error."""


class Relay:
    """Passes on what the agent's socket answers: only questions that it answers once, and that change nothing."""

    def __init__(self, bus: Bus, agent: Agent, node: str) -> None:
        self._bus, self._agent, self._node = bus, agent, node
        self._subscription: Subscription | None = None
        self.in_flight = 0

    async def start(self) -> None:
        """Listen."""
        self._subscription = await self._bus.subscribe(subjects.agent_of(self._node), "", self._on_question)

    async def stop(self, grace: float) -> None:
        """Take no more questions; what is asked already has `grace` seconds."""
        if self._subscription is not None:
            await self._subscription.close(grace)

    async def _on_question(self, request: Request) -> None:
        self.in_flight += 1
        try:
            if self.in_flight > MOST:
                raise UnreachableError("too many questions at once", where=f"node {self._node}", remedy="ask again")
            request.respond(await self._agent.ask(_checked(request.body), WITHIN))
        except (ArintError, OSError, ValueError) as error:
            told = tell(error if isinstance(error, ArintError) else ArintError(str(error), where=f"node {self._node}"))
            request.respond(msgspec.json.encode(told), _FAILED)
        finally:
            self.in_flight -= 1


class _Question(msgspec.Struct):
    type: str


def _checked(question: bytes) -> bytes:
    """Raises ValueError for what is not to be passed on."""
    if msgspec.json.decode(question, type=_Question).type not in ("query", "logs") or b"\n" in question:
        raise ValueError("no question that an agent answers once")
    return question
