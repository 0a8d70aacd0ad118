"""The first stage of a flow with `order_by`: of each key one message is let in at a time, until it has left the flow.

The input of this stage is acked only then. So whatever restarts, what is not acked is brought again in order, and the
first of each key is the one that goes on. A message that waits is known by its sequence alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from arint.actions import ENDS, Action, Outcome
from arint.bus import lookup
from arint.bus.incoming import Incoming
from arint.bus.subjects import Place, stream_of
from arint.errors import ArintError, BodyAwayError, RejectedError
from arint.flows.compile import Program
from arint.flows.order import Queues
from arint.flows.state import Effects, State
from arint.message import Failure, Message
from arint.plugins import FullError
from arint.runtime.history import History
from arint.runtime.leaving import Inside, has_left
from arint.runtime.processor import StageProcessor

if TYPE_CHECKING:
    from arint.runtime.desk import Desk

log = logging.getLogger(__name__)
T = TypeVar("T")

MOST_WAITING = 50_000
"""Messages that are looked at: what is behind so many waits, whatever its key."""
AT_ONCE = 512
FIRST_LOOK, LAST_LOOK = 1.0, 30.0
"""Seconds after which it is made sure that a message has not left unheard, and at the most."""
ON_ITS_WAY = (0.0, 0.005, 0.01, 0.03, 0.1, 0.3)
"""Seconds for which a record is waited for that was heard."""
AGAIN_AFTER = 1.0
_decode = msgspec.json.Decoder(Action).decode
Where = Literal["waiting", "working", "away", "inside"]


class Ticket:
    """One message: `away` is one that was given back to be tried again, `inside` one that is past this stage."""

    __slots__ = ("incoming", "inside", "is_suspect", "key", "look_at", "pause", "place", "sequence", "state")

    def __init__(self, incoming: Incoming, key: str) -> None:
        self.incoming = incoming
        self.key = key
        self.place: Place = incoming.place
        self.sequence = incoming.stream_sequence
        self.state: Where = "waiting"
        self.is_suspect = False
        self.inside: Inside | None = None  # those that only wait are many
        self.pause = FIRST_LOOK
        self.look_at = 0.0

    def begin(self) -> None:
        """It is worked at, for the first time or again."""
        self.state = "working"
        self.inside = self.inside or Inside(self.place)

    @property
    def may_be_over(self) -> bool:
        """As far as was heard."""
        return self.inside is not None and self.inside.count == 0


class Turnstile:
    """What is known of one flow's messages. It outlives changes of the flow."""

    def __init__(self, flow: str) -> None:
        self.flow = flow
        self.queues = Queues()
        self.tickets: dict[int, Ticket] = {}
        self.by_root: dict[str, list[Ticket]] = {}
        self.arrivals: deque[Incoming] = deque()
        self.arriving = False
        self.slots = asyncio.Semaphore(AT_ONCE)
        self.gate: Entrance | None = None
        self.tasks: set[asyncio.Task[None]] = set()


class Entrance(StageProcessor):
    """Handles the deliveries of the first stage."""

    def __init__(self, desk: Desk, program: Program, stage: str, effects: Effects, *, turnstile: Turnstile,
                 tasks: asyncio.TaskGroup) -> None:
        super().__init__(desk, program, stage, effects, in_flight=MOST_WAITING)
        assert program.order is not None
        self.is_owner = True
        self._order = program.order
        self._all = turnstile
        self._group = tasks
        self._ends: dict[Place, bool] = {}
        self._number = desk.bus.wire.listen(f"a.*.*.*.{program.flow}.>", "", self._heard)
        self._watcher = self._begin_task(self._watch())
        turnstile.gate = self

    def retire(self) -> None:
        """Another one stands here now; what has begun ends as it began."""
        self._desk.bus.wire.unlisten(self._number)
        self._watcher.cancel()

    def close(self) -> None:
        """Let nobody in any more; what has begun is begun again by whoever comes next."""
        self.retire()
        for task in self._all.tasks:
            task.cancel()

    def handle(self, incoming: Incoming) -> Awaitable[None] | None:
        """Put a message into the queue of its key; returns the work if it is its turn."""
        self._all.arrivals.append(incoming)
        if self._all.arriving:
            return None
        return self._arrive()

    def _arrive(self) -> Awaitable[None] | None:
        """Those that have come, in order."""
        works: list[Awaitable[None]] = []
        while self._all.arrivals:
            incoming = self._all.arrivals[0]
            try:
                work = self._admit(incoming, incoming.message())
            except BodyAwayError:
                self._all.arriving = True
                works.append(self._arrive_slowly())
                break
            self._all.arrivals.popleft()
            if work is not None:
                works.append(work)
        return works[0] if len(works) == 1 else _all_of(works) if works else None

    async def _arrive_slowly(self) -> None:
        """The first one's key stands in a large body: those behind wait until it is known."""
        incoming = self._all.arrivals[0]
        stay = self._desk.stay()
        try:
            message = incoming.message()
            with contextlib.suppress(RejectedError):
                message = await self._insist(lambda: self._fetched(message, stay))
            work = self._admit(incoming, message)
        finally:
            stay.end()
            self._all.arrivals.popleft()
            self._all.arriving = False
        for one in (work, self._arrive()):
            if one is not None:
                self._begin_task(one)

    def _admit(self, incoming: Incoming, message: Message) -> Awaitable[None] | None:
        ticket = self._all.tickets.get(incoming.stream_sequence)
        if ticket is not None:  # it was brought again
            ticket.incoming = incoming
            if ticket.state == "away":
                return self._work(ticket)
            incoming.shed()
            return None
        ticket = Ticket(incoming, self._key_of(incoming, message))
        self._all.tickets[ticket.sequence] = ticket
        self._all.by_root.setdefault(ticket.place.root, []).append(ticket)
        if not self._all.queues.add(ticket.key, ticket.sequence):
            incoming.shed()
            return None
        ticket.is_suspect = incoming.is_doubtful  # whoever had it before may have died of it
        return self._work(ticket)

    def _key_of(self, incoming: Incoming, message: Message) -> str:
        """Its key; what has none is alone with its failure. Raises BodyAwayError."""
        try:
            return self._order.key_of(State(message, self.program.flow, self.stage, self._effects))
        except BodyAwayError:
            raise
        except ArintError:
            return f"\0{incoming.stream_sequence}"

    async def _work(self, ticket: Ticket) -> None:
        """This stage, and then the wait until the message has left."""
        ticket.begin()
        async with self._all.slots:
            if not ticket.incoming.header:
                await self._read_again(ticket)
            self._ends.pop(ticket.place, None)
            await self._handle(ticket.incoming.settled_by(lambda answer: self._settled(ticket, answer)))
        if ticket.state == "inside":
            await self._follow(ticket)

    async def _read_again(self, ticket: Ticket) -> None:
        found = await self._insist(lambda: lookup.by_sequence(self._desk.bus, stream_of(self.program.flow),
                                                              ticket.sequence))
        if found is not None:
            ticket.incoming.body, ticket.incoming.header = found.body, found.header

    def _settled(self, ticket: Ticket, answer: bytes) -> None:
        """The stage has ended, or is to be tried again. The broker is told the one only when all is over."""
        if answer:
            ticket.state = "away"
            ticket.incoming.answer(answer)
        else:
            ticket.state = "inside"
            ticket.incoming.shed()

    def _is_suspect(self, incoming: Incoming, past: History) -> bool:
        ticket = self._all.tickets.get(incoming.stream_sequence)
        return super()._is_suspect(incoming, past) or (ticket is not None and ticket.is_suspect)

    async def _record(self, place: Place, message: Message, outcome: Outcome, began: float, *,
                      to: tuple[str, ...] = (), parts: int = 0, failure: Failure | None = None,
                      error: ArintError | None = None, next_try: float = 0.0, token: str = "") -> None:
        await super()._record(place, message, outcome, began, to=to, parts=parts, failure=failure, error=error,
                              next_try=next_try, token=token)
        if outcome in ENDS:
            self._ends[place] = not any(label.startswith(f"{place.flow}/") for label in to)

    async def _follow(self, ticket: Ticket) -> None:
        """If it is over already, the next one's turn; else the action log will tell."""
        over = self._ends.pop(ticket.place, None)
        ticket.look_at = time.monotonic() + ticket.pause
        if over:
            self._leave(ticket)
        elif over is None or ticket.may_be_over:
            await self._look(ticket)

    async def _is_over(self, ticket: Ticket) -> bool:
        return await self._insist(lambda: has_left(self._desk.bus, ticket.place))

    def _leave(self, ticket: Ticket) -> None:
        if self._all.tickets.pop(ticket.sequence, None) is None:
            return
        of_root = self._all.by_root[ticket.place.root]
        of_root.remove(ticket)
        if not of_root:
            del self._all.by_root[ticket.place.root]
        ticket.incoming.ack()
        following = self._all.queues.leave(ticket.key, ticket.sequence)
        if following is not None and self._all.gate is not None:
            self._all.gate.let_in(self._all.tickets[following])

    def let_in(self, ticket: Ticket) -> None:
        """Its turn has come."""
        self._begin_task(self._work(ticket))

    def _heard(self, subject: bytes, reply: bytes, body: bytes, header: bytes) -> None:
        """An action record of this flow, as it is on its way to the log."""
        tickets = self._all.by_root.get(subject.split(b".", 2)[1].decode())
        if not tickets or not body:
            return
        action = _decode(body)
        for ticket in tickets:
            is_its_own = len(tickets) == 1 or action.message == ticket.place.message
            if is_its_own and ticket.inside is not None and ticket.inside.hear(action) and ticket.state == "inside":
                self._begin_task(self._look(ticket))

    async def _look(self, ticket: Ticket) -> None:
        """Let the next one in if this one has left. Its last record is heard a moment before it is on disk."""
        for wait in ON_ITS_WAY:
            await asyncio.sleep(wait)
            if ticket.sequence not in self._all.tickets or ticket.state != "inside":
                return
            if await self._is_over(ticket):
                self._leave(ticket)
                return
            if not ticket.may_be_over:
                break
        ticket.pause = min(ticket.pause * 2, LAST_LOOK)
        ticket.look_at = time.monotonic() + ticket.pause

    async def _watch(self) -> None:
        """Records may be missed, while a connection is away: look now and then."""
        while True:
            await asyncio.sleep(FIRST_LOOK / 2)
            now = time.monotonic()
            for ticket in [one for one in self._all.tickets.values() if one.state == "inside" and one.look_at < now]:
                await self._look(ticket)

    async def _insist(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it until the bus lets it: the message is in nobody else's hands."""
        while True:
            try:
                return await work()
            except RejectedError:
                raise
            except (ArintError, FullError) as error:
                log.warning("%s/%s: %s; tried again", self.program.flow, self.stage, error)
                await asyncio.sleep(AGAIN_AFTER)

    def _begin_task(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = self._group.create_task(self._guard(work), name=f"turnstile of {self.program.flow}")
        self._all.tasks.add(task)
        task.add_done_callback(self._all.tasks.discard)
        return task

    async def _guard(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception:
            log.exception("the turnstile of %s failed", self.program.flow)


async def _all_of(works: list[Awaitable[None]]) -> None:
    await asyncio.gather(*works)
