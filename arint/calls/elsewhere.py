"""Asking an instance on another node: the nearest, and of two such the less busy; another where it is gone."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from arint.answers import VARIABLE
from arint.bus import requests
from arint.bus.bodies import Bodies
from arint.bus.connection import Bus
from arint.bus.subjects import rpc_at, rpc_of
from arint.errors import ArintError, NobodyError, TimedOutError, UnreachableError
from arint.flows.state import Reply
from arint.home import Home
from arint.message import Message
from arint.registry.directory import Directory, Reader, Server, nearest

LOOK_INTERVAL = 0.25
"""Seconds between two looks whether the one who is asked still lives."""
GONE_LOOKS = 2
"""So many looks in a row that do not find it: an answer that it gave at its end has arrived by then."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_RUNNER = "system/runner"


class LostError(Exception):
    """Whoever was asked ended before it answered: nobody knows whether it was done."""


class Elsewhere:
    """One a process."""

    def __init__(self, home: Home, bus: Bus, bodies: Bodies | None = None) -> None:
        self._bus = bus
        self._bodies = bodies
        self._reader = Reader(home)
        self._busy: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()

    async def ask(self, target: str, message: Message, deadline: float, lost: UnreachableError | None = None) -> Reply:
        """The answer of an instance on another node, until `deadline` of the loop's clock.

        One that has left is passed over. One that dies with the call: another is asked, once, where that does no harm
        (`repeatable`); `lost` says that this has happened already. Raises UnreachableError where it might do harm or
        there is no other, NobodyError where nobody is there at all, TimedOutError, or what was raised there.
        """
        tried: set[str] = set()
        while (server := self._choose(target, tried)) is not None:
            tried.add(server.instance)
            try:
                return await self._ask_one(server, target, message, deadline)
            except NobodyError:
                continue
            except LostError:
                again, lost = lost is None and repeatable(message), UnreachableError(
                    "the instance ended before it answered, or the way to it broke",
                    where=f"{server.instance} on node {server.node}", remedy="see arintctl node list")
                if not again:
                    raise lost from None
        if lost is not None:
            raise lost
        return Reply(await requests.ask(self._bus, rpc_of(target), message, self._left(deadline), self._bodies))

    def _choose(self, target: str, tried: set[str]) -> Server | None:
        directory = self._reader.read()
        servers = [one for one in directory.servers.get(_service_of(target), ()) if one.instance not in tried]
        return nearest(servers, directory.near, self._busy, random.randrange)

    async def _ask_one(self, server: Server, target: str, message: Message, deadline: float) -> Reply:
        """Raises LostError where it, or the way to it, ended in the middle; NobodyError where it had left before."""
        self._busy[server.instance] += 1
        asking = self._loop.create_task(requests.attempt(self._bus, rpc_at(target, server.instance), message,
                                                         self._left(deadline), self._bodies))
        try:
            await self._until_answered(asking, server, target)
            answer = await asking
        except NobodyError:
            raise
        except UnreachableError:
            raise LostError from None
        finally:
            self._busy[server.instance] -= 1
            if not asking.done():
                asking.cancel()
                await asyncio.wait([asking])
        if isinstance(answer, ArintError):
            raise answer
        return Reply(answer)

    async def _until_answered(self, asking: asyncio.Task[Message | ArintError], server: Server, target: str) -> None:
        """Raises LostError once the instance is known to have ended."""
        missed = 0
        while not (await asyncio.wait([asking], timeout=LOOK_INTERVAL))[0]:
            missed = 0 if _lives(self._reader.read(), server, target) else missed + 1
            if missed == GONE_LOOKS:
                raise LostError

    def _left(self, deadline: float) -> float:
        left = deadline - self._loop.time()
        if left <= 0:
            raise TimedOutError("no instance answered in time")
        return left


def repeatable(message: Message) -> bool:
    """Whether it does no harm to ask twice: by the method (RFC 9110, 9.2.2), or since the caller gave a key for it."""
    request = message.variables.get(VARIABLE)
    method = request.get("method") if isinstance(request, dict) else ""
    return method in _SAFE or "idempotency-key" in message.headers


def _service_of(target: str) -> str:
    kind, separator, name = target.partition("=")
    return name if separator and kind == "service" else _RUNNER


def _lives(directory: Directory, server: Server, target: str) -> bool:
    return any((one.instance, one.pid) == (server.instance, server.pid)
               for one in directory.servers.get(_service_of(target), ()))
