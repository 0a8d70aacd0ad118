"""A continuous pull: requests overlap, so that the broker always knows of room for more, and no fetch ever waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from arint.bus import headers as header_lines
from arint.bus import streams, subjects
from arint.bus.connection import Bus
from arint.bus.in_hand import NONE, InHand
from arint.bus.incoming import Incoming
from arint.bus.streams import ACK_WAIT
from arint.errors import ArintError

EXPIRES = 30.0         # seconds a pull request stands
HEARTBEAT = 5.0        # of an idle pull request, in seconds
RECOVER_PAUSE = 0.25
_PAUSED_DELAY = 1.0    # of a message that came while paused
_MAX_UNSENT = 8 * 2**20
MOST_FLYING = 2048
"""Messages taken and not settled: those that are being worked at, and those whose result is being stored."""


class PullConsumer:
    """Hands the messages of one stage to `handler`, at most `max_in_flight` at a time.

    A message for which the handler has called `worked` counts no more: however long the store takes, the instance
    takes as many as it can work at, and leaves the others to its peers.

    `handler` is called in the reading task: a plain function (be quick; settle the message later), or a coroutine
    function, which runs in a task that this consumer owns. An error that the handler lets through naks the message.
    The message's time is prolonged by itself while it is in flight, so a stage may take longer than `ack_wait`.

    An `owner` is the only one to pull: it may hold messages for long, and has all of them brought again, in order, when
    it begins and after a lost connection. Those that it has already it must recognise.

    `in_hand` remembers what it has, for the process after this one.
    """

    def __init__(self, bus: Bus, flow: str, stage: str, handler: Callable[[Incoming], Awaitable[None] | None], *,
                 max_in_flight: int = 256, max_ack_pending: int = 100_000, ack_wait: float = ACK_WAIT,
                 create: bool = True, owner: bool = False, in_hand: InHand | None = None) -> None:
        self.flow, self.stage, self.owner = flow, stage, owner
        self._in_hand = None if owner else in_hand  # an owner has all of it brought again anyway
        self._doubtful = 0       # an owner's messages up to this sequence may have been processed before
        self._bus, self._handler, self._max = bus, handler, max_in_flight
        self._max_ack_pending, self._ack_wait, self._create = max_ack_pending, ack_wait, create
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{subjects.stream_of(flow)}.{stage}"
        self._flying: set[Incoming] = set()
        self._worked = 0         # of those flying: the ones whose result is being stored
        self._asked = 0          # messages that the broker may still send on standing requests
        self._heard = 0.0        # when anything last came from the broker
        self._paused = False
        self._running = False
        self._ready = False      # the consumer exists on the broker, as far as is known
        self._number = 0
        self._inbox = ""
        self._tasks: set[asyncio.Future[None]] = set()
        self._warden: asyncio.Task[None] | None = None
        self._landed = asyncio.Event()
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def start(self) -> None:
        """Make the consumer where it is missing, and begin to pull."""
        if self._create:
            await self._ensure()
        if self.owner:
            await self._take_over()
        self._ready = self._running = True
        self._open_inbox()
        self._bus.on_down.add(self._went_down)
        self._bus.on_up.add(self._came_up)
        self._warden = asyncio.create_task(self._watch(), name=f"pull {self.flow}/{self.stage}")
        self._refill()

    async def stop(self, grace: float = 10.0) -> int:
        """Take nothing new, wait at most `grace` seconds for what is in flight; returns how many were left over.

        Those are given back, to be delivered to another instance at once.
        """
        self._running = False
        self._bus.on_down.discard(self._went_down)
        self._bus.on_up.discard(self._came_up)
        if self._number:
            self._bus.wire.unlisten(self._number)
            self._number = 0
        await self._drain(grace)
        if self._warden:
            self._warden.cancel()
            await asyncio.gather(self._warden, return_exceptions=True)
        left = list(self._flying)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for incoming in left:
            incoming.nak(0.001)
        return len(left)

    def pause(self) -> None:
        """Ask for no more. What the broker had already sent is given back to it, for a second later."""
        self._paused = True

    def resume(self) -> None:
        """Ask again."""
        self._paused = False
        self._refill()

    @property
    def paused(self) -> bool:
        """Has `pause` been called?"""
        return self._paused

    @property
    def max_in_flight(self) -> int:
        """How many it hands out at once."""
        return self._max

    @property
    def in_flight(self) -> int:
        """Messages handed out and not yet settled."""
        return len(self._flying)

    async def _drain(self, grace: float) -> None:
        deadline = self._loop.time() + grace
        while self._flying and (left := deadline - self._loop.time()) > 0:
            self._landed.clear()
            try:
                await asyncio.wait_for(self._landed.wait(), left)
            except TimeoutError:
                return

    async def _ensure(self) -> None:
        await streams.ensure_consumer(self._bus, self.flow, self.stage, max_ack_pending=self._max_ack_pending,
                                      ack_wait=self._ack_wait)

    async def _take_over(self) -> None:
        """All that is not acked is brought again, in order: it may be in nobody's hands, or its answers lost."""
        self._doubtful = max(await streams.reset_consumer(self._bus, self.flow, self.stage), self._doubtful)
        self._flying.clear()
        self._worked = 0

    def _open_inbox(self) -> None:
        """A new inbox: nothing that an older request brings can be mistaken for an answer to a newer one."""
        if self._number:
            self._bus.wire.unlisten(self._number)
        self._asked = 0
        self._heard = self._loop.time()
        self._inbox = self._bus.new_inbox()
        self._number = self._bus.wire.listen(self._inbox, "", self._on_message)

    def _refill(self) -> None:
        """Ask for as many as there is room for, unless what is asked for already suffices for a while.

        Little room is asked for only when nothing else is: else every ack of a busy instance would cost a request.
        """
        flying = len(self._flying)
        room = min(self._max - flying + self._worked, max(MOST_FLYING, self._max) - flying) - self._asked
        if room <= 0 or (self._asked and (self._asked > self._max // 2 or room < self._max // 8)):
            return
        if self._paused or not (self._running and self._ready and self._bus.connected):
            return
        self._asked += room
        self._bus.publish(self._next, _pull(room), reply=self._inbox)

    def _on_message(self, subject: bytes, reply: bytes, body: bytes, header: bytes) -> None:
        self._heard = self._loop.time()
        if not reply.startswith(b"$JS.ACK"):
            self._on_status(header)
            return
        self._asked = max(self._asked - 1, 0)
        incoming = Incoming(subject, reply, body, header, self._settled, self._heard, self._has_worked)
        if self._doubtful:
            incoming.is_doubtful = incoming.stream_sequence <= self._doubtful
        if self._paused or not self._running:
            self._answer(incoming, b'-NAK {"delay": %d}' % int(_PAUSED_DELAY * 1e9))
            return
        self._flying.add(incoming)
        if self._in_hand is not None:
            incoming.slot = self._in_hand.take(reply)
        self._hand_over(incoming)
        self._refill()

    def _hand_over(self, incoming: Incoming) -> None:
        try:
            result = self._handler(incoming)
        except Exception as error:  # the handler's failure is the message's, not the connection's
            self._failed(incoming, error)
            return
        if result is not None:
            task = self._loop.create_task(self._guard(incoming, result))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _guard(self, incoming: Incoming, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:
            self._failed(incoming, error)

    def _failed(self, incoming: Incoming, error: Exception) -> None:
        incoming.nak(1.0)
        self._loop.call_exception_handler(
            {"message": f"the handler of {self.flow}/{self.stage} failed", "exception": error})

    def _on_status(self, header: bytes) -> None:
        """408 and 409 end a request and say what of it is left; 100 is a heartbeat; 503 says nobody is there yet."""
        code = header_lines.status(header)
        if code == 100:
            return
        left = header_lines.find(header, b"Nats-Pending-Messages")
        if code in {408, 409} and left is not None:
            self._asked = max(self._asked - int(left), 0)
        if left is None or code not in {408, 409} or b"Consumer Deleted" in header:
            # 503: no such consumer, or its server is starting. The warden makes sure of it, then asks again.
            self._ready = False
            self._wake.set()
        else:
            self._refill()

    def _settled(self, incoming: Incoming, answer: bytes, final: bool) -> None:
        if final:
            if incoming in self._flying:
                self._flying.remove(incoming)
                self._worked -= incoming.is_worked
            self._landed.set()
            if incoming.slot != NONE and self._in_hand is not None:
                self._in_hand.let_go(incoming.slot)
        self._answer(incoming, answer)
        if final:
            self._refill()

    def _has_worked(self) -> None:
        self._worked += 1
        self._refill()

    def _answer(self, incoming: Incoming, answer: bytes) -> None:
        """While the connection is away answers are kept for the next one, within bounds: they stay valid."""
        if self._bus.connected or self._bus.wire.pending_data_size < _MAX_UNSENT:
            self._bus.wire.put(b"PUB %b %d\r\n%b\r\n" % (incoming.reply, len(answer), answer))

    def _went_down(self) -> None:
        self._asked = 0

    def _came_up(self) -> None:
        self._ready = False
        self._wake.set()

    async def _watch(self) -> None:
        """Prolongs what is in flight; makes the consumer anew when it is gone; asks again when silence tells so."""
        tick = min(HEARTBEAT, self._ack_wait / 4)
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), tick)
            self._wake.clear()
            now = self._loop.time()
            for incoming in self._flying:
                if now - incoming.received > self._ack_wait / 3:
                    incoming.received = now
                    incoming.in_progress()
            if not self._running or not self._bus.connected:
                continue
            if self._asked and now - self._heard > 2.5 * HEARTBEAT:
                self._ready = False  # the heartbeats stopped: the requests are lost
            if not self._ready:
                await self._recover()

    async def _recover(self) -> None:
        try:
            if self._create:
                await self._ensure()
            if self.owner:
                await self._take_over()
        except ArintError:  # no stream, no quorum, or broken again: whoever owns the flow may make it again
            await asyncio.sleep(RECOVER_PAUSE)
            self._wake.set()
            return
        if not self._running:
            return
        self._ready = True
        self._open_inbox()
        self._refill()
        await asyncio.sleep(RECOVER_PAUSE)  # a broker that refuses at once must not be asked in a tight loop


def _pull(batch: int) -> bytes:
    request: dict[str, Any] = {"batch": batch, "expires": int(EXPIRES * 1e9), "idle_heartbeat": int(HEARTBEAT * 1e9)}
    return msgspec.json.encode(request)
