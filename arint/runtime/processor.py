"""One stage of one flow in this process: take its inputs, run the stage, store what follows, record it, then ack.

The order is the guarantee. Outputs are stored before the record, the record before the ack: a crash in between
repeats at most this stage, and what it stores again the broker refuses as a second copy.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from arint.actions import Action, Outcome
from arint.bus.incoming import Incoming
from arint.bus.retry import next_delay
from arint.bus.subjects import Place
from arint.errors import (
    ArintError,
    BodyAwayError,
    RejectedError,
    SystemUnavailableError,
    TimedOutError,
    UnreachableError,
)
from arint.flows.compile import Program
from arint.flows.run import StageResult, failed_step, on_failure, run_stage
from arint.flows.state import Effects, Fork, Output, State
from arint.message import Claim, Failure, Message, StoredBody, size_of
from arint.meters.families import STAGE_ATTEMPTS, STAGE_DURATION
from arint.meters.meter import Total
from arint.plugins import FullError
from arint.resources.quantities import seconds
from arint.room import PARSED, PLAIN, Stay, current
from arint.runtime.failpoints import failpoint
from arint.runtime.history import History, history_of
from arint.runtime.tracebacks import user_line
from arint.runtime.turns import Turn
from arint.runtime.within import within

if TYPE_CHECKING:
    from arint.runtime.desk import Desk
    from arint.runtime.sinks import Outlet

log = logging.getLogger(__name__)

DETAIL_LIMIT = 4000
"""Characters of a traceback that are kept with a dead letter."""
SUSPECT_AFTER = 2
"""Unexplained deliveries (its worker died, or held it too long) after which a message is processed alone."""
CONDEMNED_AFTER = 3
"""Attempts alone, none of which came to an end, after which a message is a dead letter; fewer if `retry` says so."""
BEHIND_OTHERS = 0.2
"""Seconds for each attempt alone that a suspect lets others go first: the innocent are done before it strikes again."""
STALLED_DELAY = 1.0
LONGEST_NAK = 3600.0
"""Seconds after which a message that waits for its time is looked at again."""
WINDOW = 1000
"""Parts of one message that are stored at once, if they are small; and all of their octets else."""
WINDOW_OCTETS = 4 * 2**20
_NO_END = frozenset({"deferred", "suspected", "delayed"})
"""What an attempt goes on after, or what tells only how long a system was away: no duration is taken of it."""


class StageProcessor:
    """Handles the deliveries of one stage. `outlet` is set where the stage sends to a connection.

    `turn` tells when a message may be worked at; `in_flight` how many are taken at once (0: as many as elsewhere).
    """

    def __init__(self, desk: Desk, program: Program, stage: str, effects: Effects, *,
                 outlet: Outlet | None = None, timeout: float = 0.0, turn: Turn | None = None,
                 in_flight: int = 0) -> None:
        self.program = program
        self.stage = stage
        self.where = program.where(stage)
        self.outlet = outlet
        self.timeout = timeout
        self.in_flight = in_flight
        self.is_owner = False
        self._turn = turn
        self._desk = desk
        self._effects = effects
        self._duration = STAGE_DURATION.at(program.flow, stage)
        self._outcomes: dict[Outcome, Total] = {}

    def handle(self, incoming: Incoming) -> Awaitable[None] | None:
        """Process one delivery to its end: acked, given back for later, or dead."""
        return self._handle(incoming)

    async def _handle(self, incoming: Incoming) -> None:
        place = incoming.place
        message = incoming.message()
        past = History()
        if incoming.is_repeated:
            past = await history_of(self._desk.bus, place)
            if past.finished:  # only the ack was lost
                incoming.ack()
                return
        message.attempt = past.failed + 1
        message.change_set = self._desk.change_set
        if self._desk.tracer is not None:
            self._desk.tracer.begin(message, f"{place.flow} {self.stage}", "consumer", place.subject, message.attempt,
                                    past.records, flow=place.flow, stage=self.stage, attempt=message.attempt)
        try:
            if self._turn is not None and not await self._has_its_turn(self._turn, incoming, place, message, past):
                return
            if self.outlet is not None:  # may wait long for its system: it must not keep the gate from closing
                await self._attempt(incoming, place, message, past)
            elif self._is_suspect(incoming, past):
                await self._handle_suspect(incoming, place, message, past)
            else:
                await self._desk.gate.enter()
                try:
                    await self._attempt(incoming, place, message, past)
                finally:
                    self._desk.gate.leave()
        except FullError as error:
            log.warning("%s: %s; tried again", place.subject, error)
            if self._desk.tracer is not None:
                self._desk.tracer.forget(message.traceparent)
            incoming.nak(STALLED_DELAY)

    def _is_suspect(self, incoming: Incoming, past: History) -> bool:
        """May a worker have died of it?"""
        return incoming.delivered - 1 - past.records >= SUSPECT_AFTER

    async def _handle_suspect(self, incoming: Incoming, place: Place, message: Message, past: History) -> None:
        """Its workers may have died of it: alone now, so that it takes nobody with it, and not for ever.

        Others that were in the same worker, or waited long, are suspects as well: only what was begun alone, and had no
        end, is proof.
        """
        if past.suspected >= min(CONDEMNED_AFTER, self.program.retry(self.stage).attempts):
            failure = Failure(kind="worker lost", where=self.where, message=(
                f"its worker died or hung each of the {past.suspected} times that it processed this message alone"
                f"{_last(self._desk.ended)}"))
            await self._give_up(incoming, place, message, failure, time.time())
            return
        await asyncio.sleep(past.suspected * BEHIND_OTHERS)
        async with self._desk.gate.alone():
            await self._record(place, message, "suspected", time.time(), failure=self._before(),
                               token=f"{message.attempt}!{past.records}-{past.suspected}")
            await self._attempt(incoming, place, message, past)

    async def _has_its_turn(self, turn: Turn, incoming: Incoming, place: Place, message: Message,
                            past: History) -> bool:
        """False: it was given back until then, which uses no attempt; or it will never have one."""
        now = time.time()
        try:
            wait = await self._wait_of(turn, incoming, message, now)
        except FullError:
            raise
        except Exception as error:
            await self._failed(incoming, place, message, failure_of(error, self.where), now,
                               permanent=isinstance(error, RejectedError))
            return False
        if wait <= 0:
            return True
        await self._record(place, message, "delayed", now, next_try=now + wait,
                           token=f"{message.attempt}+{past.records}")
        incoming.nak(min(wait, LONGEST_NAK))
        return False

    async def _wait_of(self, turn: Turn, incoming: Incoming, message: Message, now: float) -> float:
        """The turn's answer; a large body is fetched for it only if it is asked for."""
        try:
            return await turn(State(message, self.program.flow, self.stage, self._effects), incoming.published, now)
        except BodyAwayError:
            stay = self._desk.stay()
            try:
                whole = await self._fetched(message, stay)
                return await turn(State(whole, self.program.flow, self.stage, self._effects), incoming.published, now)
            finally:
                stay.end()

    async def _fetched(self, message: Message, stay: Stay) -> Message:
        """With its body, as soon as there is room for it. Raises BodyLostError, or FullError to try again later."""
        body = message.body
        if not isinstance(body, StoredBody):
            return message
        await stay.for_body(body.claim.size * (PARSED if "json" in message.content_type else PLAIN))
        try:
            return await self._desk.bodies.fetch(message)
        except (UnreachableError, TimedOutError) as error:
            raise FullError(f"the body cannot be fetched: {error}") from error

    def _before(self) -> Failure | None:
        """How the worker before this one ended, for the story of a message that may have been the cause."""
        return Failure(kind="worker lost", message=self._desk.ended) if self._desk.ended else None

    async def _attempt(self, incoming: Incoming, place: Place, message: Message, past: History) -> None:
        stay = self._desk.stay()
        try:
            await self._attempt_within(stay, incoming, place, message, past)
        finally:
            stay.end()

    async def _attempt_within(self, stay: Stay, incoming: Incoming, place: Place, message: Message,
                              past: History) -> None:
        began = time.time()
        while True:
            if self.outlet is not None and not self.outlet.closed.is_set() \
                    and not await self._is_back(self.outlet, past.first_deferral or began):
                await self._give_up(incoming, place, message, self._away_too_long(), began)
                return
            try:
                result = await self._run(message, stay)
                incoming.worked()
                to = await self._store_all(result, message)
            except SystemUnavailableError as error:
                stay.end()  # it may be held for long
                if not await self._defer(incoming, place, message, past, error, began):
                    return
                past = past.with_deferral(began)
            except TimeoutError:
                await self._failed(incoming, place, message,
                                   Failure(kind="timed out", message=f"no result within {self.timeout:g} s",
                                           where=self.where), began, permanent=False)
                return
            except FullError:
                raise
            except Exception as error:
                await self._failed(incoming, place, message, failure_of(error, self.where), began,
                                   permanent=isinstance(error, RejectedError))
                return
            else:
                break
        failpoint("stored")
        await self._record(place, message, result.outcome, began, to=to,
                           parts=result.fork.count if result.fork is not None else 0)
        failpoint("recorded")
        incoming.ack()
        self._desk.processed += 1

    async def _run(self, message: Message, stay: Stay) -> StageResult:
        message = await self._fetched(message, stay)
        current.set(stay)
        work = run_stage(self.program, self.stage, message, self._effects)
        return await (within(self.timeout, work) if self.timeout else work)

    async def _store(self, outputs: tuple[Output, ...], message: Message) -> None:
        of = message.body.claim if isinstance(message.body, StoredBody) else None
        if len(outputs) == 1:
            await self._desk.store(_owned(outputs[0], of), of=of)
        elif outputs:
            await asyncio.gather(*(self._desk.store(_owned(output, of), of=of) for output in outputs))

    async def _store_all(self, result: StageResult, message: Message) -> tuple[str, ...]:
        """Store all that the stage gave; returns where it goes."""
        await self._store(result.outputs, message)
        to = labels_of(result.outputs)
        return to if result.fork is None else (*to, *await self._store_parts(result.fork, message))

    async def _store_parts(self, fork: Fork, message: Message) -> tuple[str, ...]:
        """Store them in windows, so that their number does not matter; returns the stages in which they begin."""
        stages: dict[str, None] = {}
        async with self._desk.forks:
            for window in windows(fork.outputs):
                await self._store(tuple(window), message)
                stages |= dict.fromkeys(labels_of(window))
                failpoint("parts")
        return tuple(stages)

    async def _defer(self, incoming: Incoming, place: Place, message: Message, past: History,
                     error: SystemUnavailableError, began: float) -> bool:
        """A system is away: no attempt is used. True: its circuit held this message until it was back; try again."""
        first = past.first_deferral or began
        await self._record(place, message, "deferred", began, error=error, token=f"{message.attempt}~{past.records}")
        if time.time() - first >= seconds(self.program.unavailable_for):
            failure = failure_of(error, self.where)
            await self._give_up(incoming, place, message, failure, began)
            return False
        if self.outlet is None:
            wait = error.retry_after or next_delay(past.deferrals + 1, self.program.retry(self.stage).backoff)
            incoming.nak(wait)
            return False
        self.outlet.failed(error)
        return True

    async def _is_back(self, outlet: Outlet, since: float) -> bool:
        """Wait, holding the message, until the circuit is closed; False when `unavailable_for` has ended before."""
        left = since + seconds(self.program.unavailable_for) - time.time()
        try:
            async with asyncio.timeout(max(left, 0.0)):
                await outlet.closed.wait()
        except TimeoutError:
            return False
        return True

    def _away_too_long(self) -> Failure:
        return Failure(kind="system unavailable", where=self.where,
                       message=f"the system was away for longer than {self.program.unavailable_for}")

    async def _failed(self, incoming: Incoming, place: Place, message: Message, failure: Failure, began: float, *,
                      permanent: bool) -> None:
        retry = self.program.retry(self.stage)
        if permanent or message.attempt >= retry.attempts:
            await self._give_up(incoming, place, message, failure, began)
            return
        self._desk.failed += 1
        wait = next_delay(message.attempt, retry.backoff)
        await self._record(place, message, "failed", began, failure=failure, next_try=time.time() + wait)
        incoming.nak(wait)

    async def _give_up(self, incoming: Incoming, place: Place, message: Message, failure: Failure,
                       began: float) -> None:
        """Hand it to the `catch` around the stage, or else to the dead-letter queue."""
        handler = on_failure(self.program, self.stage, message, failure)
        if handler is not None:
            await self._desk.store(handler)
            await self._record(place, message, "caught", began, failure=failure, to=(handler.label,))
        else:
            message.failure = failure
            await self._desk.bury(place, message)
            await self._record(place, message, "dead", began, failure=failure)
            self._desk.dead += 1
        incoming.ack()

    async def _record(self, place: Place, message: Message, outcome: Outcome, began: float, *,
                      to: tuple[str, ...] = (), parts: int = 0, failure: Failure | None = None,
                      error: ArintError | None = None, next_try: float = 0.0, token: str = "") -> None:
        took = round(time.time() - began, 6)
        self._count(message, outcome, took, failure.message if failure else str(error or ""))
        await self._desk.journal.record(Action(
            root=place.root, message=place.message, run=place.run, flow=place.flow, stage=place.stage,
            attempt=message.attempt, at=began, took=took, node=self._desk.node,
            instance=self._desk.instance, outcome=outcome, to=to, parts=parts,
            error=failure.message if failure else str(error or ""),
            error_kind=failure.kind if failure else (error.title if error else ""),
            error_at=user_line(failure.detail) if failure else "", next_try=next_try,
            change_set=message.change_set, channel=message.channel, size=size_of(message.body),
        ), token=token)

    def _count(self, message: Message, outcome: Outcome, took: float, error: str) -> None:
        """What of an attempt is measured, and traced. One that its circuit holds goes on as the same span."""
        counter = self._outcomes.get(outcome)
        if counter is None:
            counter = self._outcomes[outcome] = STAGE_ATTEMPTS.at(self.program.flow, self.stage, outcome)
        counter.add()
        if outcome not in _NO_END:
            self._duration.observe(took)
        if self._desk.tracer is not None and (outcome not in _NO_END or outcome == "delayed"
                                              or (outcome == "deferred" and not self.outlet)):
            self._desk.tracer.end(message.traceparent, error=error, outcome=outcome)


def labels_of(outputs: Iterable[Output]) -> tuple[str, ...]:
    """Where they go, as the action log says it."""
    return tuple(output.label for output in outputs)


def windows(outputs: Iterable[Output]) -> Iterator[list[Output]]:
    """What is stored together: neither too many nor too large."""
    window: list[Output] = []
    size = 0
    for output in outputs:
        window.append(output)
        size += size_of(output.message.body)
        if len(window) >= WINDOW or size >= WINDOW_OCTETS:
            yield window
            window, size = [], 0
    if window:
        yield window


def _owned(output: Output, of: Claim | None) -> Output:
    """The output; a body that another message's claim holds (kept by user code, perhaps for long) is stored anew."""
    body = output.message.body
    if not isinstance(body, StoredBody) or body.claim == of:
        return output
    return msgspec.structs.replace(output, message=msgspec.structs.replace(output.message, body=bytes(body)))


def _last(ended: str) -> str:
    return f"; the last time {ended}" if ended else ""


def failure_of(error: BaseException, where: str) -> Failure:
    """What is kept of an error: its kind, its words, and for user code the end of its traceback."""
    where = failed_step(error) or where
    if isinstance(error, ArintError):
        return Failure(kind=error.title, message=str(error), where=where)
    detail = "".join(traceback.format_exception(error))[-DETAIL_LIMIT:]
    return Failure(kind=type(error).__name__, message=str(error)[:1000] or type(error).__name__, where=where,
                   detail=detail)

