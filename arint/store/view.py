"""A cached, typed view of a prefix that follows etcd by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Generic, Self, TypeVar

import msgspec

from arint.errors import ArintError, TimedOutError, UnreachableError
from arint.store.connection import Etcd
from arint.store.failures import CompactedError
from arint.store.transactions import KeyValue
from arint.store.watch import Event, EventType, watch

T = TypeVar("T")
_log = logging.getLogger(__name__)
_PAUSE = 0.2


class View(Generic[T]):
    """What lies under `prefix`, decoded from JSON as `type` (`bytes`: as it is); use `async with`.

    `snapshot` maps the rest of each key after the prefix to its value; it is replaced, never changed, so whoever took
    it may keep it. `stale` is True while no member is followed: what is seen may be old then. A value that cannot be
    decoded is left out, told in `broken` by key, and does not hold up the others.
    """

    def __init__(self, etcd: Etcd, prefix: str, type: type[T]) -> None:
        self.prefix = prefix
        self.snapshot: dict[str, T] = {}
        self.broken: dict[str, str] = {}
        self.revision = 0
        """Of the store, up to which all changes are seen."""
        self.version = 0
        """Counts the changes of `snapshot` and of `stale`."""
        self.stale = True
        self._etcd = etcd
        self._decode = None if type is bytes else msgspec.json.Decoder(type).decode
        self._seen: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Listed once when this returns. Raises what `Etcd.range` raises."""
        await self._list()
        self._follower = asyncio.create_task(self._follow(), name=f"view-{self.prefix}")
        return self

    async def __aexit__(self, *failure: object) -> None:
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.cancel()
            await asyncio.wait([follower])
            if not follower.cancelled():
                follower.exception()  # it was told to those who waited
        self._wake()

    def mod_revision(self, name: str) -> int:
        """When the key was last changed, for a fenced write; 0 if it is not there."""
        return self._seen.get(name, 0)

    async def wait_changed(self, since: int | None = None) -> int:
        """Wait until `version` is above `since` (default: what it is now); the new version.

        Raises DeniedError if the prefix may no longer be read. Changes in between are gathered into one.
        """
        since = self.version if since is None else since
        while self.version <= since:
            changed = self._changed
            self._check()
            await changed.wait()
        return self.version

    async def __aiter__(self) -> AsyncGenerator[dict[str, T], None]:
        """The snapshot now, and again after every change."""
        while True:
            version = self.version
            yield self.snapshot
            await self.wait_changed(version)

    def _check(self) -> None:
        if self._follower is None:
            raise ArintError("the view is closed", where=self.prefix, remedy="use it inside `async with`")
        if self._follower.done():
            self._follower.result()

    async def _follow(self) -> None:
        try:
            while True:
                try:
                    await self._apply_events()
                except CompactedError:
                    await self._list_again()
        finally:
            self.stale = True
            self._wake()

    async def _apply_events(self) -> None:
        async with contextlib.aclosing(watch(self._etcd, self.prefix, self.revision + 1,
                                             on_link=self._on_link)) as batches:
            async for events in batches:
                self._apply(events)

    async def _list_again(self) -> None:
        while True:
            try:
                return await self._list()
            except (UnreachableError, TimedOutError, CompactedError):
                await asyncio.sleep(_PAUSE)

    async def _list(self) -> None:
        """All keys at one revision; only what differs is decoded."""
        found, revision = await self._etcd.range(self.prefix)
        current = {self._name(kv): kv for kv in found}
        events = [Event(EventType.DELETE, KeyValue(self.prefix + name, b"")) for name in self._seen
                  if name not in current]
        events += [Event(EventType.PUT, kv) for name, kv in current.items() if self._seen.get(name) != kv.mod_revision]
        self.stale = False
        self._apply(events)
        self.revision = revision

    def _apply(self, events: list[Event]) -> None:
        if not events:
            return
        snapshot = dict(self.snapshot)
        for event in events:
            name = self._name(event.kv)
            snapshot.pop(name, None)
            self.broken.pop(name, None)
            self._seen.pop(name, None)
            if event.type is EventType.PUT:
                self._seen[name] = event.kv.mod_revision
                self._set(snapshot, name, event.kv.value)
        self.snapshot = snapshot
        self.revision = max(self.revision, events[-1].kv.mod_revision)
        self.version += 1
        self._wake()

    def _set(self, snapshot: dict[str, T], name: str, value: bytes) -> None:
        try:
            snapshot[name] = self._decode(value) if self._decode else value  # type: ignore[assignment]
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.broken[name] = str(error)
            _log.warning("%s%s cannot be read: %s", self.prefix, name, error)

    def _name(self, kv: KeyValue) -> str:
        return kv.key.removeprefix(self.prefix)

    def _on_link(self, up: bool) -> None:
        if self.stale is up:
            self.stale = not up
            self.version += 1
            self._wake()

    def _wake(self) -> None:
        """All who wait now; who comes later waits for the next."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
