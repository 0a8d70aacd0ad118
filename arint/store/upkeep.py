"""etcd looked after: alarms, and the room that deleted keys still take; one member at a time, the leader last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aetcd import rpc

from arint.errors import ArintError
from arint.store.connection import Etcd, Status
from arint.store.members import LOOK, Members

WASTE_FROM = 64 * 2**20
"""A database smaller than this is left as it is, in bytes."""
WASTE_SHARE = 0.5
"""The share of a database that must be free for it to be rewritten."""
KEPT_REVISIONS = 1000
"""What is left of history when there is no room: who watches and was away for longer lists again."""
_REWRITE = 120.0  # seconds that one member may take to rewrite its database; it answers nobody meanwhile


class Upkeep:
    """Looks after the members behind `etcd`: `once()` now and then, by one node of the cluster."""

    def __init__(self, etcd: Etcd, *, waste_from: int = WASTE_FROM) -> None:
        self._etcd = etcd
        self._waste_from = waste_from

    async def once(self) -> str:
        """Do what is due; what a person must see to, or an empty text."""
        stands, away = await self._look()
        if await self._alarms(rpc.AlarmType.CORRUPT):
            return "etcd says that its data are corrupt: restore a backup (arintctl cluster restore)"
        full = await self._alarms(rpc.AlarmType.NOSPACE)
        if full:
            await self._compact(max(one.revision for one in stands) - KEPT_REVISIONS)
            stands, away = await self._look()
        if away:
            return f"etcd's member {', '.join(away)} does not answer"
        for one in in_order(stands):
            if full or is_wasteful(one, self._waste_from):
                await self._rewrite(one)
        if full:
            await self._disarm(full)
            return "" if not await self._alarms(rpc.AlarmType.NOSPACE) else "etcd has no room: nothing can be changed"
        return ""

    async def _look(self) -> tuple[list[Status], list[str]]:
        stands: list[Status] = []
        away: list[str] = []
        for member in await Members(self._etcd).known():
            try:
                async with self._etcd.alone(member.clients[0], timeout=LOOK) as alone:
                    stands.append(await alone.status())
            except (ArintError, IndexError):
                away.append(member.name or member.peer)
        return stands, away

    async def _compact(self, revision: int) -> None:
        if revision > 0:
            try:
                await self._etcd.compact(revision)
            except ArintError as error:
                if "compacted" not in error.what:  # then it was done before
                    raise

    async def _rewrite(self, one: Status) -> None:
        async with self._etcd.alone(one.address, timeout=_REWRITE) as alone:
            await alone.call(lambda member, timeout: member.maintenance.Defragment(
                rpc.DefragmentRequest(), timeout=timeout), write=True)

    async def _alarms(self, kind: int) -> list[int]:
        """The members that raised it."""
        request = rpc.AlarmRequest(action=rpc.AlarmRequest.GET, memberID=0, alarm=kind)
        reply = await self._etcd.call(lambda one, timeout: one.maintenance.Alarm(request, timeout=timeout), write=False)
        return [one.memberID for one in reply.alarms if one.alarm == kind]

    async def _disarm(self, members: Sequence[int]) -> None:
        for member in members:
            await self._deactivate(rpc.AlarmRequest(action=rpc.AlarmRequest.DEACTIVATE, memberID=member,
                                                    alarm=rpc.AlarmType.NOSPACE))

    async def _deactivate(self, request: Any) -> None:
        await self._etcd.call(lambda one, timeout: one.maintenance.Alarm(request, timeout=timeout), write=True)


def in_order(stands: Sequence[Status]) -> list[Status]:
    """The leader last: it hands over at the most once, and to one that is rewritten already. Pure."""
    return sorted(stands, key=lambda one: (one.member == one.leader, one.address))


def is_wasteful(one: Status, waste_from: int = WASTE_FROM) -> bool:
    """Whether rewriting its database is worth the moment in which it answers nobody. Pure."""
    free = one.database_bytes - one.in_use_bytes
    return one.database_bytes >= waste_from and free >= WASTE_SHARE * one.database_bytes
