"""A caller's end of the connection to one instance: many calls at once, each with its deadline."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import msgspec

from arint.calls.frames import (
    Answered,
    Call,
    Cancel,
    Credit,
    Failed,
    Frame,
    FrameError,
    Hello,
    Leaving,
    Part,
    Refused,
)
from arint.calls.link import Link
from arint.calls.streams import Inflow, Outflow, close
from arint.errors import ArintError, MessageError, TimedOutError, UnreachableError
from arint.failures import error_of
from arint.flows.state import Reply
from arint.message import Message

_Found = tuple[Answered, Inflow | None]


class RefusedError(Exception):
    """The instance did not begin: another may be asked."""


class Calls(Link):
    """One connection. `ready` after the instance said Hello, until it says that it is leaving, or is gone."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.concurrency = 1
        self.streams = False
        self.ready = False
        self.greeted: asyncio.Future[bool] = self._loop.create_future()
        """Done when it is known whether somebody answers there."""
        self._numbers = itertools.count(1)
        self._pending: dict[int, asyncio.Future[_Found]] = {}
        self._inflows: dict[int, Inflow] = {}
        self._outflows: dict[int, Outflow] = {}
        self._sending: dict[int, asyncio.Task[None]] = {}

    @property
    def in_flight(self) -> int:
        """Calls under way, streams included."""
        return len(self._pending) + len(self._inflows)

    async def ask(self, target: str, message: Message, timeout: float,
                  body: AsyncIterator[bytes] | None = None) -> Reply:
        """One call. Cancelling it cancels the work.

        Raises RefusedError, what was raised there, TimedOutError, or UnreachableError if the instance ended meanwhile:
        then nobody knows whether it was done.
        """
        number = next(self._numbers)
        answer: asyncio.Future[_Found] = self._loop.create_future()
        self._pending[number] = answer
        try:
            self.put(Call(number, target, timeout, message, body is not None))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            del self._pending[number]
            raise MessageError(f"the message cannot be handed over: {error}", where=target) from None
        timer = self._loop.call_later(timeout, _expire, answer)
        if body is not None:
            self._sending[number] = self._loop.create_task(self._send(number, body))
        inflow: Inflow | None = None
        try:
            found, inflow = await answer
        except BaseException as error:
            self._inflows.pop(number, None)
            if not isinstance(error, RefusedError | ArintError) or isinstance(error, TimedOutError):
                self.put(Cancel(number))
            raise
        finally:
            timer.cancel()
            del self._pending[number]
            if inflow is None:  # else the body may go on while the answer comes
                self._stop_sending(number)
        return _reply(message, found, None if inflow is None else AnswerStream(self, number, inflow))

    def on_frame(self, frame: Frame) -> None:
        """What the instance sends."""
        match frame:
            case Answered(id=number):
                self._answered(number, frame)
            case Failed(id=number, told=told):
                self._fail(number, error_of(told))
            case Refused(id=number):
                self._fail(number, RefusedError())
            case Part(id=number, data=data, last=last):
                self._part(number, data, last=last)
            case Credit(id=number, octets=octets):
                if (outflow := self._outflows.get(number)) is not None:
                    outflow.more(octets)
            case Hello(concurrency=concurrency, streams=streams):
                self.concurrency, self.streams, self.ready = concurrency, streams, True
                self._greet(True)
            case Leaving():
                self.ready = False
                self._part_when_done()
            case _:
                raise FrameError(f"who answers does not send {type(frame).__name__}")

    def on_end(self) -> None:
        """The instance is gone, and with it all that was under way there."""
        self.ready = False
        self._greet(False)
        for number in [*self._pending, *self._inflows]:
            self._fail(number, UnreachableError("the instance ended before it answered", where=self.name,
                                                remedy="see its log: arintctl logs"))

    def _answered(self, number: int, frame: Answered) -> None:
        answer = self._pending.get(number)
        if answer is None or answer.done():  # nobody waits: the stream it may begin was cancelled too
            return
        inflow = Inflow(lambda octets: self.put(Credit(number, octets))) if frame.streamed else None
        if inflow is not None:
            self._inflows[number] = inflow
        answer.set_result((frame, inflow))
        if not self.ready:
            self._loop.call_soon(self._part_when_done)

    def _part(self, number: int, data: bytes, *, last: bool) -> None:
        inflow = self._inflows.get(number)
        if inflow is None:
            return
        if not inflow.arrived(data, last=last):
            raise FrameError("more of a body than there was credit for")
        if last:
            del self._inflows[number]
            self._stop_sending(number)
            self._part_when_done()

    def _fail(self, number: int, error: Exception) -> None:
        answer, inflow = self._pending.get(number), self._inflows.pop(number, None)
        if inflow is not None:
            inflow.broke(error)
            self._stop_sending(number)
        if answer is not None and not answer.done():
            answer.set_exception(error)
        if not self.ready:
            self._loop.call_soon(self._part_when_done)

    def abandon(self, number: int) -> None:
        """Nobody reads this answer's stream any more."""
        if self._inflows.pop(number, None) is not None:
            self._stop_sending(number)
            self.put(Cancel(number))

    def _stop_sending(self, number: int) -> None:
        self._outflows.pop(number, None)
        if (sending := self._sending.pop(number, None)) is not None:
            sending.cancel()

    async def _send(self, number: int, body: AsyncIterator[bytes]) -> None:
        outflow = self._outflows[number] = Outflow()
        try:
            await outflow.send(body, lambda data, last: self.put(Part(number, data, last)))
        except Exception as error:  # whatever the one who makes the body raises
            self.put(Cancel(number))
            self._fail(number, error)
        finally:
            await close(body)

    def _greet(self, there: bool) -> None:
        if not self.greeted.done():
            self.greeted.set_result(there)

    def _part_when_done(self) -> None:
        if not self.ready and not self.in_flight:
            self.close()


class AnswerStream:
    """The parts of an answer; whoever closes it before its end cancels the work."""

    def __init__(self, calls: Calls, number: int, inflow: Inflow) -> None:
        self._calls, self._number, self._inflow = calls, number, inflow

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._inflow)

    async def aclose(self) -> None:
        """Read no further."""
        self._calls.abandon(self._number)


def _expire(answer: asyncio.Future[_Found]) -> None:
    if not answer.done():
        answer.set_exception(TimedOutError("no answer in time"))


def _reply(message: Message, found: Answered, stream: AsyncIterator[bytes] | None) -> Reply:
    changes: dict[str, object] = {}
    if found.body is not None:
        changes["body"], changes["content_type"] = found.body, found.content_type
    elif found.content_type != message.content_type:
        changes["content_type"] = found.content_type
    if found.headers is not None:
        changes["headers"] = found.headers
    if found.variables is not None:
        changes["variables"] = found.variables
    after = msgspec.structs.replace(message, **changes) if changes else message
    return Reply(after, stream=stream, returned=found.body is not None)
