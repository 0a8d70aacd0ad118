"""Reading what a stream holds, without a consumer: by subject, by prefix, by sequence, the newest."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Sequence
from typing import Any

import msgspec

from arint.bus import api, streams
from arint.bus import headers as header_lines
from arint.bus.connection import Bus, Reply
from arint.bus.subjects import Place, parse_place
from arint.errors import ArintError, NotFoundError, TimedOutError, UnreachableError
from arint.message import ENVELOPE_HEADER, Message, decode_message

PAGE = 256
_AT_ONCE = 1000  # subjects in one request: the broker answers for 1,024
_TOO_MANY = 413
_END = 204
_NOTHING = 404
_NO_MESSAGE = frozenset({10043, 10057})  # "sequence … not found"; "no message found" of the file store
_ENVELOPE = ENVELOPE_HEADER.encode()


class Found(msgspec.Struct, frozen=True):
    """A stored message: `header` is the raw block, `at` when it was stored (seconds since the epoch)."""

    subject: str
    sequence: int
    at: float
    body: bytes
    header: bytes

    @property
    def place(self) -> Place:
        """What the subject says."""
        return parse_place(self.subject)

    @property
    def envelope(self) -> bytes:
        """The envelope's JSON; `{}` where there is none."""
        return header_lines.find(self.header, _ENVELOPE) or b"{}"

    def message(self) -> Message:
        """The message, whole."""
        place = self.place
        return decode_message(self.body, self.envelope, root=place.root, identity=place.message, run=place.run)


async def look_up(bus: Bus, stream: str, pattern: str, *, limit: int = 10_000, up_to: int = 0,
                  deadline: float = 5.0) -> list[Found]:
    """Every message whose subject matches, in the order of storing, the first `limit` of them.

    One request for up to 1,024 messages (an id first in the pattern makes it fast in any number); more come in pages.
    `up_to` leaves out what has a greater sequence. Empty where there is nothing; NotFoundError without the stream.
    """
    query: dict[str, Any] = {"multi_last": [pattern]}
    if up_to:
        query["up_to_seq"] = up_to
    found, complete = await _gather(bus, stream, query, deadline)
    if complete:
        return sorted(found, key=lambda one: one.sequence)[:limit]
    return await _walk(bus, stream, pattern, limit, up_to, deadline)


async def get_one(bus: Bus, stream: str, subject: str, *, deadline: float = 5.0) -> Found | None:
    """The last message of one subject, or None."""
    found, _ = await _gather(bus, stream, {"last_by_subj": subject}, deadline)
    return found[0] if found else None


async def get_many(bus: Bus, stream: str, subjects: Sequence[str], *, deadline: float = 5.0) -> list[Found]:
    """The last message of each of these subjects that holds one, in no order."""
    found: list[Found] = []
    for start in range(0, len(subjects), _AT_ONCE):
        some, _ = await _gather(bus, stream, {"multi_last": list(subjects[start:start + _AT_ONCE])}, deadline)
        found += some
    return found


async def by_sequence(bus: Bus, stream: str, sequence: int, *, deadline: float = 5.0) -> Found | None:
    """The message with this number, or None."""
    found, _ = await _gather(bus, stream, {"seq": sequence}, deadline)
    return found[0] if found else None


async def next_of(bus: Bus, stream: str, pattern: str, sequence: int, *, deadline: float = 5.0) -> Found | None:
    """The first message that matches, from `sequence` on, or None."""
    found, _ = await _gather(bus, stream, {"seq": sequence, "next_by_subj": pattern}, deadline)
    return found[0] if found else None


async def exactly(bus: Bus, stream: str, subjects: Sequence[str], *, deadline: float = 10.0) -> dict[str, Found]:
    """The last message of each of these subjects (1,024 at most) that has one, by subject. Raises NotFoundError."""
    if not subjects:
        return {}
    found, _ = await _gather(bus, stream, {"multi_last": list(subjects)}, deadline)
    return {one.subject: one for one in found}


async def newest(bus: Bus, stream: str, pattern: str = ">", limit: int = 50, *, before: int = 0,
                 deadline: float = 5.0) -> list[Found]:
    """The newest messages that match, newest first; `before` (a sequence) asks for the page after one that ended there.

    The stream is read backwards in windows that double, so a match among the latest is found at once.
    """
    state = await streams.state(bus, stream)
    end = min(before or state.last + 1, state.last + 1)
    window = max(limit, PAGE)
    found: list[Found] = []
    while end > state.first and len(found) < limit:
        start = max(state.first, end - window)
        older = await _walk(bus, stream, pattern, window, end - 1, deadline, start=start)
        found.extend(reversed(older))
        end, window = start, window * 2
    return found[:limit]


async def delete(bus: Bus, stream: str, sequence: int) -> bool:
    """Delete one message; False where it was gone already."""
    try:
        await api.call(bus, f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": True})
    except NotFoundError:
        return False
    except api.BusError as error:
        if error.code in _NO_MESSAGE:
            return False
        raise
    return True


async def _walk(bus: Bus, stream: str, pattern: str, limit: int, up_to: int, deadline: float,
                start: int = 1) -> list[Found]:
    """Forward from `start` in pages."""
    found: list[Found] = []
    position = start
    while len(found) < limit:
        query = {"seq": position, "next_by_subj": pattern, "batch": min(PAGE, limit - len(found))}
        page, _ = await _gather(bus, stream, query, deadline)
        fitting = [one for one in page if not up_to or one.sequence <= up_to]
        found.extend(fitting)
        if not page or len(fitting) < len(page):
            break
        position = page[-1].sequence + 1
    return found


async def _gather(bus: Bus, stream: str, query: dict[str, Any], deadline: float) -> tuple[list[Found], bool]:
    """One direct get and all its answers, asked again while the stream's server is away."""
    loop = asyncio.get_running_loop()
    until = loop.time() + deadline
    while True:
        try:
            return await _gather_once(bus, stream, query, until)
        except UnreachableError:
            if not await _is_starting(bus, stream, until):
                raise
            await asyncio.sleep(0.1)


async def _is_starting(bus: Bus, stream: str, until: float) -> bool:
    """Nobody answers for the stream: raises NotFoundError where there is no such stream, else tells of time left."""
    left = until - asyncio.get_running_loop().time()
    if left < 0.2:
        return False
    await api.call(bus, f"STREAM.INFO.{stream}", timeout=left)
    return True


async def _gather_once(bus: Bus, stream: str, query: dict[str, Any], until: float) -> tuple[list[Found], bool]:
    """The answers, and whether they are complete (a pattern of more than 1,024 subjects is not answered)."""
    replies: asyncio.Queue[Reply | ArintError] = asyncio.Queue()
    inbox = bus.expect(lambda subject, _, body, header: replies.put_nowait(Reply(subject.decode(), body, header)))
    several = "multi_last" in query or "batch" in query
    found: list[Found] = []

    def broken() -> None:
        replies.put_nowait(UnreachableError("the connection to the bus broke", where=stream))

    bus.on_down.add(broken)
    try:
        async with asyncio.timeout_at(until):
            await bus.wait_connected(max(until - asyncio.get_running_loop().time(), 0.01))
            bus.publish(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(query), reply=inbox)
            while True:
                reply = await replies.get()
                if isinstance(reply, ArintError):
                    raise reply
                if reply.status:
                    return found, _end_of(reply, stream)
                found.append(_read(reply))
                if not several:
                    return found, True
    except TimeoutError:
        raise TimedOutError("the look-up was not answered in time", where=stream) from None
    finally:
        bus.forget(inbox)
        bus.on_down.discard(broken)


def _end_of(reply: Reply, stream: str) -> bool:
    """What a status says: the end, nothing there, or too many."""
    if reply.status in {_END, _NOTHING}:
        return True
    if reply.status == _TOO_MANY:
        return False
    if reply.status == 503:
        raise UnreachableError("the stream does not answer", where=stream)
    raise ArintError(f"the look-up was refused: {reply.header[9:].strip().decode('utf-8', 'replace')}", where=stream)


def _read(reply: Reply) -> Found:
    header = reply.header
    subject = header_lines.find(header, b"Nats-Subject") or b""
    sequence = header_lines.find(header, b"Nats-Sequence") or b"0"
    at = header_lines.find(header, b"Nats-Time-Stamp") or b""
    return Found(subject.decode(), int(sequence), _epoch(at.decode()), reply.body, header)


def _epoch(stamp: str) -> float:
    """Seconds since the epoch of an RFC 3339 time with nanoseconds in UTC."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    if not whole:
        return 0.0
    moment = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.UTC)
    return moment.timestamp() + (float(f"0.{fraction}") if fraction else 0.0)
