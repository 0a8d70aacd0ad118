"""Watching a prefix: every event once, in order, over broken links and dead members."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from enum import StrEnum
from typing import Any

import grpc
import msgspec
from aetcd import rpc

from arint.errors import DeniedError, UnreachableError
from arint.store.connection import Etcd
from arint.store.endpoints import REQUIRE_LEADER, Endpoint
from arint.store.failures import CompactedError, denied, failure, transient
from arint.store.transactions import KeyValue, prefix_end, read_key_value

_PAUSE = 0.1
_ANSWER = 3.0  # seconds for a member to accept a watch


class EventType(StrEnum):
    """What happened to a key."""

    PUT = "put"
    DELETE = "delete"


class Event(msgspec.Struct, frozen=True):
    """A key that was set or deleted; `prev` is what it was before, where asked for and still known."""

    type: EventType
    kv: KeyValue
    prev: KeyValue | None = None


def _nobody(up: bool) -> None:
    """Nobody asked."""


async def watch(etcd: Etcd, prefix: str, from_revision: int, *, previous: bool = False,
                on_link: Callable[[bool], None] = _nobody) -> AsyncGenerator[list[Event], None]:
    """Batches of events under `prefix` since `from_revision` (that one included), for ever.

    `on_link` is called with True when a member has accepted the watch and False when that is broken. Close the
    iterator when done (contextlib.aclosing). Raises CompactedError (list again) and DeniedError; waits out all else.
    """
    following = from_revision
    while True:
        endpoint: Endpoint | None = None
        try:
            endpoint = await etcd.endpoints.ready(etcd.timeout)
            stream = _stream(endpoint, prefix, following, previous, on_link)
            async with contextlib.aclosing(stream):
                async for events in stream:
                    # Never from the header's revision: catch-up batches carry a later one.
                    following = events[-1].kv.mod_revision + 1
                    yield events
        except grpc.aio.AioRpcError as error:
            if not transient(error.code()):
                raise failure(error, etcd.endpoints.where, write=False) from error
        except (UnreachableError, asyncio.InvalidStateError, TimeoutError):
            pass  # the link is down; waiting for it is what this loop is for
        on_link(False)
        if endpoint is not None:
            etcd.endpoints.failed(endpoint)
        await asyncio.sleep(_PAUSE)


async def _stream(endpoint: Endpoint, prefix: str, revision: int, previous: bool,
                  on_link: Callable[[bool], None]) -> AsyncGenerator[list[Event], None]:
    """One watch on one member, until it breaks. Written and read by hand: a request iterator would outlive it."""
    call = endpoint.watch.Watch(metadata=REQUIRE_LEADER)
    try:
        async with asyncio.timeout(_ANSWER):
            await call.write(rpc.WatchRequest(create_request=rpc.WatchCreateRequest(
                key=prefix.encode(), range_end=prefix_end(prefix), start_revision=revision, prev_kv=previous)))
            reply = await call.read()
        if reply is not grpc.aio.EOF and not reply.canceled:
            on_link(True)
        while reply is not grpc.aio.EOF:
            _refuse(reply, endpoint)
            if reply.canceled:
                return
            if reply.events:
                yield [_event(event) for event in reply.events]
            reply = await call.read()
    finally:
        call.cancel()


def _refuse(reply: Any, endpoint: Endpoint) -> None:
    where = f"etcd {endpoint.address}"
    if reply.compact_revision:
        raise CompactedError("the history to watch is gone", revision=reply.compact_revision, where=where)
    if reply.canceled and denied(reply.cancel_reason):
        raise DeniedError("this may not be watched", where=where, remedy="use a certificate whose role may do this")


def _event(event: Any) -> Event:
    kind = EventType.DELETE if event.type == rpc.Event.DELETE else EventType.PUT
    prev = read_key_value(event.prev_kv) if event.HasField("prev_kv") else None
    return Event(kind, read_key_value(event.kv), prev)
