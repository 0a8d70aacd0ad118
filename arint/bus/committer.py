"""Group commit: concurrent stores become atomic batches, so that one write to disk serves hundreds of messages.

Every store expects that its subject is still empty, so the broker refuses a second copy; a refusal means "stored". A
store in doubt (the answer was lost with the connection) is simply sent again. See docs: ENGINES, group commit.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from arint.bus import headers as header_lines
from arint.bus.connection import Bus
from arint.errors import RejectedError
from arint.plugins import FullError

BATCH_MESSAGES = 500
FEW = 12
"""So many or fewer go singly, at 0.2 to 0.3 ms each: a batch costs the broker about 3 ms, and 30 µs for each in it."""
MANY = 128
"""Only if so many wait is a batch sent behind another: earlier, it is better to wait and gather. While the one batch is
on its way the callers of the one before are answered and come again, so the broker and this process both work."""
SINGLES = 2000
"""In flight at once where nothing is gathered."""
BATCH_OCTETS = 4 * 2**20
RESEND_AFTER = 3.0  # seconds without an answer on a connection that seems to live: an election, or a lost reply
RETRY_AFTER = 0.1
_EXPECT_NOTHING = b"Nats-Expected-Last-Subject-Sequence:0\r\n"
_PRESENT = frozenset({10071, 10164})          # wrong last sequence: the subject holds a message
_FULL = frozenset({10077, 10047, 10023, 10028, 10054, 10002})  # stream or storage at its limit


class Stored(NamedTuple):
    """The broker has the message on disk. `duplicate`: it had it before. `sequence` is 0 for a duplicate."""

    duplicate: bool
    sequence: int = 0


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct):
    seq: int = 0
    duplicate: bool = False
    error: _Error | None = None


_decode = msgspec.json.Decoder(_Ack).decode


class _Item:
    """One message on its way: its encoded header lines, and who waits for it."""

    __slots__ = ("body", "deadline", "future", "lines", "subject")

    def __init__(self, subject: str, lines: bytes, body: bytes, deadline: float,
                 future: asyncio.Future[Stored]) -> None:
        self.subject, self.lines, self.body, self.deadline, self.future = subject, lines, body, deadline, future

    @property
    def size(self) -> int:
        return len(self.body) + len(self.lines)


class _Flight(NamedTuple):
    items: Sequence[_Item]
    sent: float


class Committer:
    """Stores messages in one stream. One for a stream and process; closed with `close`.

    Without `grouped` everything goes singly: where the broker does not sync each write, that is twice as fast.
    """

    def __init__(self, bus: Bus, stream: str, *, deadline: float = 10.0, queue: int = 20_000,
                 pipeline: int = 2, grouped: bool = True) -> None:
        self.stream = stream
        self._bus = bus
        self._deadline = deadline
        self._limit = queue
        self._pipeline = pipeline
        self._few = FEW if grouped else SINGLES
        self._singles = 0  # flights of one message
        self._queue: deque[_Item] = deque()
        self._flights: dict[str, _Flight] = {}
        self._scheduled = False
        self._not_before = 0.0
        self._loop = asyncio.get_running_loop()
        self._batch_ids = itertools.count(1)
        self._name = secrets.token_hex(6)
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        bus.on_down.add(self._went_down)
        bus.on_up.add(self._kick)

    async def store(self, subject: str, body: bytes, headers: Mapping[str, str | bytes], *,
                    expect_new: bool = True) -> Stored:
        """Returns when the message is on the broker's disk; unless `expect_new` is off, once and no more.

        Raises FullError when the stream is full, or the broker away or without a quorum past the deadline (then the
        message may still turn up: storing it again is safe); RejectedError when it is larger than the bus carries.
        """
        lines = header_lines.encode(headers)
        if expect_new:
            lines += _EXPECT_NOTHING
        if len(lines) + len(body) + 256 > self._bus.max_payload:
            raise RejectedError(f"the message is larger than {self._bus.max_payload} bytes", where=subject)
        if len(self._queue) >= self._limit or self._closed:
            raise FullError(f"{self._limit} messages wait to be stored" if not self._closed else "it is closing", 1.0)
        item = _Item(subject, lines, body, self._loop.time() + self._deadline, self._loop.create_future())
        self._queue.append(item)
        self._kick()
        return await item.future

    @property
    def waiting(self) -> int:
        """Messages that are not yet stored."""
        return len(self._queue) + sum(len(flight.items) for flight in self._flights.values())

    async def close(self, timeout: float = 5.0) -> None:
        """Store what waits, at most `timeout` seconds; refuse the rest."""
        self._closed = True
        futures = [item.future for item in self._all()]
        if futures:
            await asyncio.wait(futures, timeout=timeout)
        self._bus.on_down.discard(self._went_down)
        self._bus.on_up.discard(self._kick)
        if self._sweeper:
            self._sweeper.cancel()
        for item in self._all():
            _refuse(item, "it is closing")
        for inbox in self._flights:
            self._bus.forget(inbox)
        self._queue.clear()
        self._flights.clear()
        self._singles = 0

    def _all(self) -> list[_Item]:
        return [*self._queue, *(item for flight in self._flights.values() for item in flight.items)]

    def _kick(self) -> None:
        """Send soon: at the end of this turn of the loop, so that everything stored in it goes together."""
        if self._sweeper is None and not self._closed:
            self._sweeper = self._loop.call_later(0.25, self._sweep)
        if not self._scheduled and self._may_send():
            self._scheduled = True
            self._loop.call_soon(self._send)

    def _may_send(self) -> bool:
        waiting, singles = len(self._queue), self._singles
        if not waiting:
            return False
        if batches := len(self._flights) - singles:
            return batches < self._pipeline and waiting >= MANY
        return singles < 2 or singles + waiting <= self._few

    def _send(self) -> None:
        self._scheduled = False
        if not self._bus.connected or self._loop.time() < self._not_before:
            return
        while self._may_send():
            items = self._gather()
            if len(items) + self._singles > self._few:
                self._send_batch(items)
            else:
                for item in items:
                    self._send_one(item)

    def _gather(self) -> list[_Item]:
        items: list[_Item] = []
        size = 0
        while self._queue and len(items) < BATCH_MESSAGES and size < BATCH_OCTETS:
            item = self._queue.popleft()
            if not item.future.done():  # its caller may have gone
                items.append(item)
                size += item.size
        return items

    def _send_one(self, item: _Item) -> None:
        inbox = self._depart([item], self._answered)
        self._bus.wire.put(header_lines.frame(item.subject, inbox, item.lines, item.body))

    def _send_batch(self, items: list[_Item]) -> None:
        inbox = self._depart(items, self._answered)
        name = f"{self._name}{next(self._batch_ids)}".encode()
        last = len(items)
        frames = []
        for number, item in enumerate(items, 1):
            tail = b"Nats-Batch-Commit:1\r\n" if number == last else b""
            lines = b"%bNats-Batch-Id:%b\r\nNats-Batch-Sequence:%d\r\n%b" % (item.lines, name, number, tail)
            frames.append(header_lines.frame(item.subject, inbox if number == last else "", lines, item.body))
        self._bus.wire.put(b"".join(frames))

    def _ask_which(self, items: Sequence[_Item]) -> None:
        """A batch was refused since a member is stored already: one look-up tells which, and the rest goes again.

        After a crash much is done a second time; to send all of it singly would take eight times as long.
        """
        present: set[bytes] = set()

        def told(inbox: str, body: bytes, header: bytes) -> None:
            if header_lines.status(header):
                self._sort_out(inbox, present)
            else:
                present.add(header_lines.find(header, b"Nats-Subject") or b"")

        query = msgspec.json.encode({"multi_last": [item.subject for item in items]})
        inbox = self._depart(items, told)
        self._bus.wire.put(header_lines.plain_frame(f"$JS.API.DIRECT.GET.{self.stream}", inbox, query))

    def _sort_out(self, inbox: str, present: set[bytes]) -> None:
        items = self._land(inbox)
        rest = []
        for item in items:
            if item.subject.encode() not in present:
                rest.append(item)
            elif not item.future.done():
                item.future.set_result(Stored(True))
        if len(rest) > FEW and len(rest) < len(items):
            self._send_batch(rest)
        else:  # none was found: two in the batch are the same, or the look-up met a replica that lags
            for item in rest:
                self._send_one(item)
        self._kick()

    def _depart(self, items: Sequence[_Item], answered: Callable[[str, bytes, bytes], None]) -> str:
        inbox = self._bus.expect(lambda subject, reply, body, header: answered(inbox, body, header))
        self._flights[inbox] = _Flight(items, self._loop.time())
        self._singles += len(items) == 1
        return inbox

    def _land(self, inbox: str) -> Sequence[_Item]:
        """What was in flight under this reply subject is so no longer."""
        self._bus.forget(inbox)
        flight = self._flights.pop(inbox, None)
        if flight is None:
            return ()
        self._singles -= len(flight.items) == 1
        return flight.items

    def _answered(self, inbox: str, body: bytes, header: bytes) -> None:
        items = self._land(inbox)
        if self._may_send():  # at once, not after all that the callers do with their answers: the broker is idle now
            self._send()
            self._bus.wire.flush_now()
        ack = _decode(body) if body else _Ack(error=_Error(0, "nobody answers"))
        if ack.error is None:
            first = ack.seq - len(items) + 1
            for sequence, item in enumerate(items, first):
                if not item.future.done():
                    item.future.set_result(Stored(ack.duplicate, sequence))
        elif len(items) > FEW and ack.error.err_code in _PRESENT:
            self._ask_which(items)
        elif len(items) > 1 and ack.error.err_code:
            # One member was refused, and with it all: alone, each gets its own answer.
            for item in items:
                self._send_one(item)
        else:
            self._refused(items, ack.error)
        self._kick()

    def _refused(self, items: Sequence[_Item], error: _Error) -> None:
        if error.err_code in _PRESENT:
            for item in items:
                if not item.future.done():
                    item.future.set_result(Stored(True))
        elif error.err_code in _FULL:
            for item in items:
                _refuse(item, f"{self.stream}: {error.description}")
        else:
            self._again(items)

    def _again(self, items: Sequence[_Item]) -> None:
        """Not stored, or nobody knows: to the head of the queue, after a moment."""
        self._queue.extendleft(item for item in reversed(items) if not item.future.done())
        self._not_before = self._loop.time() + RETRY_AFTER
        self._loop.call_later(RETRY_AFTER, self._kick)

    def _went_down(self) -> None:
        """The answers are lost with the connection; what waits for one is sent again over the next."""
        for inbox in reversed(self._flights.copy()):
            items = self._land(inbox)
            self._queue.extendleft(item for item in reversed(items) if not item.future.done())

    def _sweep(self) -> None:
        """Give up what is past its deadline; send again what had no answer for long."""
        self._sweeper = None
        now = self._loop.time()
        for inbox, flight in list(self._flights.items()):
            if now - flight.sent > RESEND_AFTER or any(item.deadline < now for item in flight.items):
                self._again(self._land(inbox))
        late = [item for item in self._queue if item.deadline < now]
        if late:
            for item in late:
                _refuse(item, f"{self.stream}: the broker does not answer")
            self._queue = deque(item for item in self._queue if item.deadline >= now)
        if self._queue or self._flights:
            self._kick()


def _refuse(item: _Item, why: str) -> None:
    if not item.future.done():
        item.future.set_exception(FullError(why))
