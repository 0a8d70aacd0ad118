"""The members of etcd themselves: listed, added as learners, given a vote, removed; never below a quorum."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from aetcd import rpc

from arint.availability import quorum
from arint.errors import ArintError, ConflictError, NotFoundError, TimedOutError
from arint.store.connection import Etcd
from arint.store.failures import InDoubtError

LOOK = 1.5
"""Seconds that a member may take to say how it stands."""
CHANGE = 20.0
"""Seconds for a change. etcd itself refuses one until all members have been connected for 5 s."""
_PAUSE = 0.2


class Member(msgspec.Struct, frozen=True):
    """One member; `name` and `clients` (host:port) are empty until it has started for the first time."""

    id: int
    name: str
    peer: str
    """The URL for its peers: what it is known by from the beginning."""
    clients: tuple[str, ...] = ()
    learner: bool = False


class Members:
    """The members of the cluster behind `etcd`. Changes are checked first, and may be asked for again."""

    def __init__(self, etcd: Etcd) -> None:
        self._etcd = etcd

    async def known(self) -> list[Member]:
        """All of them, by name."""
        reply = await self._ask(lambda one, timeout: one.cluster.MemberList(rpc.MemberListRequest(), timeout=timeout),
                                write=False)
        return _read(reply.members)

    async def standing(self) -> list[quorum.Server]:
        """All of them, and whether each of them answers and sees a leader."""
        members = await self.known()
        healthy = await asyncio.gather(*(self._is_healthy(one) for one in members))
        return [quorum.Server(one.name, well, one.learner) for one, well in zip(members, healthy, strict=True)]

    async def add(self, peer: str) -> tuple[Member, Sequence[Member]]:
        """Add the server with this peer URL as a learner, unless it is a member; it, and all members now.

        Start it then with `existing` and these members. Raises ConflictError with the reason why not.
        """
        request = rpc.MemberAddRequest(peerURLs=[peer], isLearner=True)
        deadline = _now() + CHANGE
        while True:
            members = await self.known()
            if found := _at(peer, members):
                return found, members
            _refuse(quorum.why_not_add(await self.standing()), peer, "arintctl status; then the same again")
            await self._change(lambda one, timeout: one.cluster.MemberAdd(request, timeout=timeout), peer, deadline)

    async def promote(self, name: str, *, timeout: float = 30.0) -> None:
        """Give the learner its vote as soon as it has caught up; nothing happens if it has one.

        Raises NotFoundError, TimedOutError while it is behind, ConflictError with the reason why not.
        """
        deadline, last = _now() + timeout, "it has not started yet"
        while _now() < deadline:
            member = next((one for one in await self.known() if one.name == name), None)
            if member is not None and not member.learner:
                return
            if member is not None:
                last = quorum.why_not_promote(await self.standing(), name) or await self._try_promotion(member)
                if not last:
                    return
            await asyncio.sleep(_PAUSE)
        raise TimedOutError(f"{name} has no vote yet: {last}", where=f"etcd member {name}",
                            remedy=f"see that its agent runs: arintctl node show {name}")

    async def remove(self, name: str) -> bool:
        """Remove a member; False if there is none of that name. Raises ConflictError with the reason why not."""
        member = next((one for one in await self.known() if one.name == name), None)
        if member is None:
            return False
        _refuse(quorum.why_not_remove(await self.standing(), name), name,
                "bring those that are away back first, or remove one of them")
        await self._remove(member)
        return True

    async def drop_unstarted(self, peer: str) -> bool:
        """Take back an addition that was given up: the learner with this peer URL. Voters are not touched."""
        member = _at(peer, await self.known())
        if member is None or not member.learner:
            return False
        await self._remove(member)
        return True

    async def _remove(self, member: Member) -> None:
        request = rpc.MemberRemoveRequest(ID=member.id)
        deadline = _now() + CHANGE
        while any(one.id == member.id for one in await self.known()):
            try:
                await self._change(lambda one, timeout: one.cluster.MemberRemove(request, timeout=timeout),
                                   member.name or member.peer, deadline)
            except NotFoundError:
                return

    async def _change(self, ask: Callable[[Any, float], Awaitable[Any]], where: str, deadline: float) -> None:
        """One try; it may have been made also where etcd did not say so, and the caller looks."""
        try:
            await self._ask(ask, write=True)
        except InDoubtError as error:
            if _now() >= deadline:
                raise TimedOutError(f"etcd did not make the change: {error.what}", where=where,
                                    remedy="arintctl status; then the same again") from error
            await asyncio.sleep(_PAUSE)

    async def _try_promotion(self, member: Member) -> str:
        request = rpc.MemberPromoteRequest(ID=member.id)
        try:
            await self._ask(lambda one, timeout: one.cluster.MemberPromote(request, timeout=timeout), write=True)
        except (ConflictError, TimedOutError) as error:  # "can only promote a learner which is in sync with leader"
            return error.what
        return ""

    async def _is_healthy(self, member: Member) -> bool:
        if not member.clients:
            return False
        try:
            async with self._etcd.alone(member.clients[0], timeout=LOOK) as alone:
                return (await alone.status()).leader != 0
        except ArintError:
            return False

    async def _ask(self, ask: Callable[[Any, float], Awaitable[Any]], *, write: bool) -> Any:
        return await self._etcd.call(ask, write=write)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _read(members: Sequence[Any]) -> list[Member]:
    found = [Member(one.ID, one.name, one.peerURLs[0] if one.peerURLs else "",
                    tuple(url.partition("://")[2] for url in one.clientURLs), one.isLearner) for one in members]
    return sorted(found, key=lambda one: (one.name, one.peer))


def _at(peer: str, members: Sequence[Member]) -> Member | None:
    return next((one for one in members if one.peer == peer), None)


def _refuse(why: str, where: str, remedy: str) -> None:
    if why:
        raise ConflictError(why, where=where, remedy=remedy)
