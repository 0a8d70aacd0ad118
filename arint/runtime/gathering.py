"""The stage of an `aggregate`: its messages are held, stored and not acked, until their group is complete.

The aggregate is stored in one atomic batch with a marker for each member, under a subject that only that member has:
so the broker itself refuses to have a member in two aggregates, whoever dies when, and however many runners there are.
A refused batch means that some members are in one already: these are told apart by their markers, the others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from arint.bus import lookup
from arint.bus.incoming import Incoming
from arint.bus.subjects import Place, stream_of
from arint.bus.together import Part, store_together
from arint.errors import ArintError, BodyAwayError, RejectedError
from arint.flows.compile import Program
from arint.flows.groups import Group, Groups, Member, Reason
from arint.flows.state import Effects, State
from arint.flows.steps.aggregating import Aggregate
from arint.message import ENVELOPE_HEADER, LARGEST_INLINE, Message, encode_envelope, inline
from arint.plugins import FullError
from arint.room import PARSED
from arint.runtime.failpoints import failpoint
from arint.runtime.history import history_of
from arint.runtime.processor import StageProcessor, failure_of

if TYPE_CHECKING:
    from arint.runtime.desk import Desk

log = logging.getLogger(__name__)
T = TypeVar("T")

MOST_TOGETHER = 900
"""Members of one batch. A group with so many members that is not complete yet is made shorter by a partial one."""
MOST_HELD = 100_000
"""Members of all open groups of a stage."""
COMPLETING = 8
"""Groups that are being stored at once."""
AGAIN_AFTER = 1.0
SHORTLY = 0.05
"""Seconds after which to look again at a group whose time is over, while messages that may belong to it come in."""
_CHECKED_TOGETHER = 1000
_RECORD = "aggregated"


class Held(NamedTuple):
    """A message that waits in its group; its body was let go of."""

    incoming: Incoming
    key: str
    member: Member


class Gathered:
    """What is held for one stage. It outlives changes of the flow that leave the stage."""

    def __init__(self) -> None:
        self.groups: Groups | None = None
        self.held: dict[int, Held] = {}
        self.unchecked: list[Incoming] = []
        self.checking = False
        self.completing = asyncio.Semaphore(COMPLETING)
        self.news = asyncio.Event()
        self.heard_until = 0.0
        self.is_behind = False

    def known_until(self, now: float) -> float:
        """Up to which time of storing all messages are in their groups."""
        if self.unchecked or self.checking:
            return 0.0
        return self.heard_until if self.is_behind and len(self.held) < MOST_HELD else now


class Gathering(StageProcessor):
    """Handles the deliveries of an `aggregate`, and watches the time."""

    def __init__(self, desk: Desk, program: Program, stage: str, effects: Effects, *, gathered: Gathered,
                 tasks: asyncio.TaskGroup) -> None:
        super().__init__(desk, program, stage, effects, in_flight=MOST_HELD)
        self.is_owner = True
        step = program.instructions[program.stage(stage).at].step
        assert isinstance(step, Aggregate)
        self._step = step
        self._stream = stream_of(program.flow)
        self._all = gathered
        if gathered.groups is None:
            gathered.groups = Groups(step.rule)
        gathered.groups.rule = step.rule
        self._groups = gathered.groups
        self._watcher = tasks.create_task(self._watch(), name=f"groups of {program.flow}/{stage}")

    def retire(self) -> None:
        """Another one watches from now on."""
        self._watcher.cancel()

    def close(self) -> None:
        """Watch no longer: whoever comes next is brought the members again."""
        self._watcher.cancel()

    def handle(self, incoming: Incoming) -> Awaitable[None] | None:
        """Add a message to its group. Only what may have been in an aggregate before, and what fails, takes a task."""
        self._all.heard_until, self._all.is_behind = incoming.published, incoming.pending > 0
        if not incoming.is_repeated and not self._all.checking:
            return self._add(incoming)
        self._all.unchecked.append(incoming)
        if self._all.checking:
            return None
        self._all.checking = True
        return self._check()

    def _add(self, incoming: Incoming) -> Awaitable[None] | None:
        sequence = incoming.stream_sequence
        known = self._all.held.get(sequence)
        if known is not None:  # it was brought again: from now on it is settled by this delivery
            self._all.held[sequence] = known._replace(incoming=incoming)
            incoming.shed()
            return None
        return self._add_message(incoming, incoming.message())

    def _add_message(self, incoming: Incoming, message: Message, *,
                     stored: Message | None = None) -> Awaitable[None] | None:
        """`stored` is the message as it lies on the bus, where `message` has its large body with it."""
        sequence = incoming.stream_sequence
        try:
            state = State(message, self.program.flow, self.stage, self._effects)
            key = self._step.key_of(state)
            member = self._step.member(state, key, sequence, incoming.published, self._groups.get(key))
        except BodyAwayError:
            return self._add_large(incoming, message)
        except Exception as error:
            return self._fail(incoming, stored or message, error)
        incoming.shed()
        return self._hold(Held(incoming, key, member))

    async def _add_large(self, incoming: Incoming, message: Message) -> None:
        """Its body is looked at in the room for large bodies, and let go of before anything else is done."""
        if (work := await self._look_at_large(incoming, message)) is not None:
            await work

    async def _look_at_large(self, incoming: Incoming, message: Message) -> Awaitable[None] | None:
        stay = self._desk.stay()
        try:
            whole = await self._insist(lambda: self._fetched(message, stay))
            if incoming.stream_sequence in self._all.held:
                return None
            return self._add_message(incoming, whole, stored=message)
        except RejectedError as error:
            return self._fail(incoming, message, error)
        finally:
            stay.end()

    def _hold(self, held: Held) -> Awaitable[None] | None:
        """Returns what is left to do if its group is complete now, or too long."""
        self._all.held[held.member.sequence] = held
        before = self._groups.next_due
        works = []
        if (late := self._groups.expired(held.key, held.member.at)) is not None:
            self._groups.take(late)
            works.append(self._complete(late, "time"))
        group = self._groups.add(held.key, held.member)
        reason = group.reason(self._groups.rule)
        if reason is not None or len(group.members) >= MOST_TOGETHER:
            self._groups.take(group)
            works.append(self._complete(group, reason))
        elif self._groups.next_due != before:
            self._all.news.set()
        return works[0] if len(works) == 1 else _all_of(works) if works else None

    async def _check(self) -> None:
        """Take out what is in an aggregate already: one look-up tells it of many."""
        try:
            while unchecked := self._all.unchecked[:_CHECKED_TOGETHER]:
                markers = await self._markers([incoming.place for incoming in unchecked])
                del self._all.unchecked[:len(unchecked)]
                works = [self._leave(incoming, markers[incoming.place.marker])
                         if incoming.place.marker in markers else self._add(incoming) for incoming in unchecked]
                await asyncio.gather(*(work for work in works if work is not None))
        finally:
            self._all.checking = False

    async def _markers(self, places: Sequence[Place]) -> dict[str, str]:
        """The markers that are there, with the subject of the aggregate that each names."""
        found = await self._insist(lambda: lookup.get_many(self._desk.bus, self._stream,
                                                           [place.marker for place in places]))
        return {one.subject: one.body.decode() for one in found}

    async def _insist(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it until the bus lets it: what is held here comes to nobody else."""
        while True:
            try:
                return await work()
            except RejectedError:
                raise
            except (ArintError, FullError) as error:
                log.warning("%s/%s: %s; tried again", self.program.flow, self.stage, error)
                await asyncio.sleep(AGAIN_AFTER)

    async def _fail(self, incoming: Incoming, message: Message, error: Exception) -> None:
        past = await self._insist(lambda: history_of(self._desk.bus, incoming.place))
        message.attempt = past.failed + 1
        message.change_set = self._desk.change_set
        failure, permanent = failure_of(error, self.where), isinstance(error, RejectedError)
        await self._insist(lambda: self._failed(incoming, incoming.place, message, failure, time.time(),
                                                permanent=permanent))

    async def _leave(self, incoming: Incoming, into: str) -> None:
        """It is in an aggregate: record that, and be done with it."""
        place = incoming.place
        message = Message(id=place.message, root=place.root, run=place.run, change_set=self._desk.change_set)
        await self._insist(lambda: self._record(place, message, "aggregated", time.time(), to=(into,), token=_RECORD))
        incoming.ack()
        self._desk.processed += 1

    async def _complete(self, group: Group, reason: Reason | None) -> None:
        """Make one message of the group; without a reason one that stands for these members in the same group."""
        stay = self._desk.stay()
        try:
            async with self._all.completing:
                if group.octets > LARGEST_INLINE:
                    await stay.for_body(group.octets * PARSED)
                stored = await self._make_one(group, reason)
        except RejectedError as error:
            stay.end()
            await asyncio.gather(*(self._fail_held(sequence, error) for sequence in group.members))
        except Exception as error:  # whatever it is, its members are held by nobody else
            stay.end()
            log.log(logging.WARNING if isinstance(error, ArintError | FullError) else logging.ERROR,
                    "a group of %s/%s cannot be stored: %s; tried again", self.program.flow, self.stage, error,
                    exc_info=None if isinstance(error, ArintError | FullError) else error)
            await asyncio.sleep(AGAIN_AFTER)
            await self._open_again(group)
        else:
            stay.end()  # others have their turn first: a group that is sorted out may be completed again
            await (self._settle(group, stored) if stored else self._sort_out(group))
        finally:
            stay.end()

    async def _make_one(self, group: Group, reason: Reason | None) -> str:
        """Store the aggregate; its subject, or nothing where the broker refused it."""
        members = group.in_order
        stored = await lookup.get_many(self._desk.bus, self._stream,
                                       [self._all.held[member.sequence].incoming.subject for member in members])
        messages = {one.sequence: await self._desk.bodies.fetch(one.message()) for one in stored}
        pairs = [(member, messages[member.sequence]) for member in members if member.sequence in messages]
        if len(pairs) < len(members):
            raise ArintError(f"{len(members) - len(pairs)} of its members were not found", where=self._stream)
        if reason is None:
            whole, stage = self._step.compact(self.program.flow, pairs), self.stage
        else:
            whole, stage = self._step.combine(self.program.flow, group.key, pairs, reason), self._step.following
        place = Place(whole.root, whole.id, whole.run, self.program.flow, stage)
        whole = await self._desk.bodies.check_in(whole, place.flow, place.subject)
        parts = [Part(place.subject, {ENVELOPE_HEADER: encode_envelope(whole)}, inline(whole))]
        parts += [Part(self._all.held[member.sequence].incoming.place.marker, {}, place.subject.encode())
                  for member in members]
        return place.subject if await store_together(self._desk.bus, parts) is not None else ""

    async def _settle(self, group: Group, into: str) -> None:
        """All of them are in this aggregate."""
        failpoint("aggregated")
        held = [self._all.held.pop(member.sequence) for member in group.in_order]
        await asyncio.gather(*(self._leave(one.incoming, into) for one in held))

    async def _sort_out(self, group: Group) -> None:
        """The batch was refused, or its answer was lost: the markers tell who is in an aggregate."""
        members = group.in_order
        markers = await self._markers([self._all.held[member.sequence].incoming.place for member in members])
        for member in members:
            held = self._all.held[member.sequence]
            if (into := markers.get(held.incoming.place.marker)) is not None:
                del self._all.held[member.sequence], group.members[member.sequence]
                await self._leave(held.incoming, into)
        await self._open_again(group)

    async def _open_again(self, group: Group) -> None:
        """Its members are members still; what came meanwhile is with them."""
        for member in group.in_order:
            work = self._hold(self._all.held[member.sequence])
            if work is not None:
                await work

    async def _fail_held(self, sequence: int, error: Exception) -> None:
        held = self._all.held.pop(sequence)
        found = await self._insist(lambda: lookup.by_sequence(self._desk.bus, self._stream, sequence))
        if found is not None:
            await self._fail(held.incoming, found.message(), error)

    async def _watch(self) -> None:
        """Complete the groups whose time is over."""
        while True:
            due = self._groups.next_due
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else max(due - time.time(), SHORTLY)):
                    await self._all.news.wait()
            self._all.news.clear()
            late = list(self._groups.due(self._all.known_until(time.time())))
            for group in late:
                self._groups.take(group)
            await asyncio.gather(*(self._complete(group, "time") for group in late))


async def _all_of(works: Sequence[Awaitable[None]]) -> None:
    await asyncio.gather(*works)
