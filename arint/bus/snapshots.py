"""Whole streams out of the broker and into one: JetStream's snapshots, with flow control both ways.

A copy holds the messages first and the consumers' states last, each as of the moment when it is written. So under load
a consumer may have acked, by the copy, what its copy or another stream's does not show the result of: who restores goes
by what was acked before the first copy began (`arint.operations.backup`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from arint.bus import api
from arint.bus.connection import Bus, Reply
from arint.errors import ArintError, TimedOutError, UnreachableError

CHUNK = 128 * 1024
STALLED = 30.0
"""Seconds without a chunk, or without its receipt, after which it is given up."""
_LAST_WORD = 600.0
"""Seconds for the broker to build what was sent."""
_WINDOW = 16


class Copied(msgspec.Struct, frozen=True):
    """What the broker says of the stream at the beginning of its copy."""

    config: dict[str, Any]
    state: dict[str, Any]


async def copy_out(bus: Bus, stream: str, write: Callable[[bytes], None]) -> Copied:
    """Give the stream, with its consumers, to `write`, piece by piece; the next comes when it has returned.

    Raises NotFoundError, TimedOutError where it stalls, UnreachableError where the connection breaks, and what `write`
    raises.
    """
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    arrived = asyncio.Event()

    def fail(error: Exception) -> None:
        if not done.done():
            done.set_exception(error)
        arrived.set()

    def take(_: bytes, reply: bytes, body: bytes, header: bytes) -> None:
        if done.done():
            return
        arrived.set()
        if body:
            try:
                write(body)
            except (OSError, ArintError) as error:
                fail(error)
                return
            bus.publish(reply.decode(), b"")
        elif (status := Reply("", b"", header).status) in (0, 204):
            done.set_result(None)
        else:
            fail(UnreachableError(f"the broker broke the copy off ({status})", where=stream, remedy="run it again"))

    def broken() -> None:
        fail(UnreachableError("the connection to the bus broke", where=stream, remedy="run it again"))

    inbox = bus.new_inbox()
    number = bus.wire.listen(inbox, "", take)  # its very subject: for interest by a wildcard the broker waits 2 s
    bus.on_down.add(broken)
    try:
        answer = await api.call(bus, f"STREAM.SNAPSHOT.{stream}", {"deliver_subject": inbox, "chunk_size": CHUNK},
                                STALLED)
        while not done.done():
            arrived.clear()
            async with asyncio.timeout(STALLED):
                await arrived.wait()
        done.result()
    except TimeoutError:
        raise TimedOutError(f"the copy stood still for {STALLED:g} s", where=stream, remedy="run it again") from None
    finally:
        bus.wire.unlisten(number)
        bus.on_down.discard(broken)
        done.cancel()
    return Copied(answer["config"], answer["state"])


async def copy_in(bus: Bus, stream: str, copied: Copied, chunks: Iterable[bytes], *, replicas: int = 1) -> None:
    """Make the stream, and its consumers, from what `copy_out` wrote.

    Raises ConflictError where there is such a stream, BusError where the broker does not take it.
    """
    config = copied.config | {"num_replicas": replicas}
    answer = await api.call(bus, f"STREAM.RESTORE.{stream}", {"config": config, "state": copied.state}, STALLED)
    subject = answer["deliver_subject"]
    under_way: deque[asyncio.Task[Reply]] = deque()
    try:
        for chunk in chunks:
            for start in range(0, len(chunk), CHUNK):
                if len(under_way) >= _WINDOW:
                    _accepted(await under_way.popleft(), stream)
                under_way.append(asyncio.create_task(bus.request(subject, chunk[start:start + CHUNK], STALLED)))
                await asyncio.sleep(0)
        while under_way:
            _accepted(await under_way.popleft(), stream)
    finally:
        for task in under_way:
            task.cancel()
    _accepted(await bus.request(subject, b"", _LAST_WORD), stream)


async def reset(bus: Bus, stream: str, consumer: str, sequence: int) -> None:
    """Have a consumer go on behind `sequence`: everything after it is delivered again."""
    await api.call(bus, f"CONSUMER.RESET.{stream}.{consumer}", {"seq": sequence + 1})


def _accepted(reply: Reply, stream: str) -> None:
    if reply.body:
        error = msgspec.json.decode(reply.body).get("error")
        if error:
            raise api.refusal(error, stream)
