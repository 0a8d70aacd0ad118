"""Whom to ask: a healthy instance on this node by its socket, the least busy one; else one elsewhere, over the bus."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator

import msgspec

from arint.bus.bodies import Bodies
from arint.bus.connection import Bus
from arint.calls.admission import MOST, Admission
from arint.calls.client import Calls, RefusedError
from arint.calls.elsewhere import Elsewhere, repeatable
from arint.calls.sockets import Sockets, group_of
from arint.calls.streams import gather
from arint.errors import NobodyError, RejectedError, SystemUnavailableError, TimedOutError, UnreachableError
from arint.flows.state import Reply
from arint.home import Home
from arint.message import LARGEST_BODY, Message

LOOK_INTERVAL = 0.02
"""Seconds between two looks at who has come and gone; nobody looks while nobody calls."""
DIAL_TIMEOUT = 2.0
KNOCK_INTERVAL = 0.1
QUEUE_FACTOR = 8
"""So many calls may be under way for each that the instances work at."""


class _Peer:
    """One socket: `made` tells it from a later one of the same name. `calls` is its connection, while it has one."""

    def __init__(self, name: str, made: int) -> None:
        self.name, self.made = name, made
        self.calls: Calls | None = None
        self.dialling: asyncio.Task[None] | None = None
        self.not_before = 0.0
        """When it may be dialled again."""


class Peers:
    """One a process. Connections are made when first needed, and kept."""

    def __init__(self, home: Home, bus: Bus, bodies: Bodies | None = None) -> None:
        self.sockets = Sockets(home)
        self._loop = asyncio.get_running_loop()
        self._elsewhere = Elsewhere(home, bus, bodies)
        self._groups: dict[str, dict[str, _Peer]] = defaultdict(dict)
        self._admissions: dict[str, Admission] = defaultdict(Admission)
        self._looked = -1.0

    async def ask(self, target: str, message: Message, timeout: float,
                  body: AsyncIterator[bytes] | None = None) -> Reply:
        """The answer of a service (`service=NAME`) or a flow (`NAME`), at most `timeout` seconds away.

        Raises SystemUnavailableError where it could not be done in time, NobodyError where nobody is there, else as
        `Calls.ask`.
        """
        loop = self._loop
        now = loop.time()
        if type(message.body) is not bytes:  # a large one, which knows where it is stored
            message = msgspec.structs.replace(message, body=bytes(message.body))
        deadline = now + timeout
        admission = self._admissions[target]
        if wait := admission.refused_for(now, timeout):
            raise SystemUnavailableError("more is asked of it than it can do in time", where=target, retry_after=wait)
        admission.begin(now)
        answered = False
        try:
            reply = await self._ask(target, message, deadline, body)
            answered = True
        except (TimedOutError, NobodyError):
            raise
        except Exception:
            answered = True
            raise
        finally:
            admission.end(loop.time(), answered=answered)
        return reply

    async def _ask(self, target: str, message: Message, deadline: float, body: AsyncIterator[bytes] | None) -> Reply:
        group = group_of(target)
        refused: set[str] = set()
        lost: UnreachableError | None = None
        while (calls := self._best(target, group, refused)
               or await self._dialled(target, group, refused, deadline)) is not None:
            try:
                return await calls.ask(target, message, max(deadline - self._loop.time(), 0.001), body)
            except RefusedError:
                refused.add(calls.name)
            except UnreachableError as error:
                if lost is not None or not (calls.gone and body is None and repeatable(message)):
                    raise
                lost = error  # another is asked once: a request that ends whoever works at it must not end them all
                refused.add(calls.name)
        return await self._ask_elsewhere(target, message, deadline, body, lost)

    def _best(self, target: str, group: str, refused: set[str]) -> Calls | None:
        """The least busy of those that are connected; the others are dialled meanwhile."""
        self._look()
        best: Calls | None = None
        room = 0
        for peer in self._groups[group].values():
            calls = peer.calls
            if calls is None or calls.gone:
                if peer.dialling is None and self._loop.time() >= peer.not_before:
                    peer.dialling = self._loop.create_task(self._connect(peer), name=f"dial {peer.name}")
            elif calls.ready and peer.name not in refused:
                room += calls.concurrency
                if not calls.clogged and (best is None or calls.in_flight < best.in_flight):
                    best = calls
        if best is not None:
            self._admissions[target].most = max(MOST, room * QUEUE_FACTOR)
        return best

    async def _dialled(self, target: str, group: str, refused: set[str], deadline: float) -> Calls | None:
        """Wait for those that are being dialled; None where nobody answers."""
        while dialling := [peer.dialling for peer in self._groups[group].values() if peer.dialling is not None]:
            if (left := deadline - self._loop.time()) <= 0:
                raise TimedOutError("no instance answered in time", where=target)
            await asyncio.wait(dialling, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if (best := self._best(target, group, refused)) is not None:
                return best
        return None

    async def wants_stream(self, target: str, timeout: float) -> bool:
        """Does the instance that would be asked take bodies as streams?"""
        group = group_of(target)
        calls = self._best(target, group, set()) or await self._dialled(target, group, set(),
                                                                        self._loop.time() + timeout)
        return calls is not None and calls.streams

    async def _connect(self, peer: _Peer) -> None:
        try:
            async with asyncio.timeout(DIAL_TIMEOUT):
                _, calls = await self._loop.create_unix_connection(lambda: Calls(peer.name),
                                                                   self.sockets.address(peer.name))
                peer.calls = calls
                if not await calls.greeted:
                    peer.not_before = self._loop.time() + DIAL_TIMEOUT
        except OSError:  # not ready yet, or left behind by a process that was killed
            peer.not_before = self._loop.time() + KNOCK_INTERVAL
        except TimeoutError:
            peer.not_before = self._loop.time() + DIAL_TIMEOUT
            if peer.calls is not None:
                peer.calls.abort()
        finally:
            peer.dialling = None

    def _look(self) -> None:
        """See who has come and gone, if that may be."""
        now = self._loop.time()
        if now - self._looked < LOOK_INTERVAL:
            return
        self._looked = now
        if not self.sockets.changed():
            return
        present = self.sockets.present()
        for peers in self._groups.values():
            for name in [name for name, peer in peers.items() if present.get(name) != peer.made]:
                del peers[name]  # its connection ends by itself, when what is under way is answered
        for name, made in present.items():
            self._groups[name.rpartition("-")[0]].setdefault(name, _Peer(name, made))

    async def _ask_elsewhere(self, target: str, message: Message, deadline: float, body: AsyncIterator[bytes] | None,
                             lost: UnreachableError | None) -> Reply:
        """An instance that the bus reaches; a streamed body goes in one piece. `lost`: one was asked in vain before."""
        if body is not None:
            message.body = await gather(body, LARGEST_BODY, _too_large)
        return await self._elsewhere.ask(target, message, deadline, lost)

    async def close(self) -> None:
        """Part from all."""
        for peers in self._groups.values():
            for peer in peers.values():
                if peer.dialling is not None:
                    peer.dialling.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await peer.dialling
                if peer.calls is not None:
                    peer.calls.close()
        self.sockets.close()


def _too_large() -> RejectedError:
    return RejectedError(f"the body has more than {LARGEST_BODY} bytes")
