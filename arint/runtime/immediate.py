"""Calls from outside that are answered with their outcome: by whom, within what time, and the record of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping

from arint.actions import Action
from arint.answers import VARIABLE, Answer, Request, answer_of
from arint.bus.subjects import api_of, flow_of
from arint.calls.streams import close
from arint.errors import ArintError, MessageError, TimedOutError
from arint.message import Message, new_id
from arint.resources.kinds import Channel
from arint.runtime.call_log import CallLog
from arint.runtime.colocated import Colocated
from arint.runtime.control import Orders
from arint.runtime.desk import Desk
from arint.statuses import status_of

log = logging.getLogger(__name__)

STAGE = "immediate"
"""The stage that the record names: there is none of this name in any flow."""
CALLER_GONE = 499
"""The status in the record of a call that nobody waited for any more (nginx's custom)."""


class Immediate:
    """Answers for this node's immediate channels."""

    def __init__(self, desk: Desk, *, fsync: bool) -> None:
        self._desk = desk
        self._colocated = Colocated(desk)
        self._targets: dict[str, str] = {}
        self._calls = CallLog(desk.bus, desk.instance, desk.home / "log" / f"calls-{desk.instance}.jsonl",
                              grouped=fsync)

    async def update(self, channels: Mapping[str, Channel], orders: Orders) -> None:
        """From now on: these channels, and the services of the orders that may run here."""
        self._targets = {name: api_of(name) if channel.queries else flow_of(*channel.to.split("/", 1))
                         for name, channel in channels.items()}
        await self._colocated.update(orders)

    async def wants_stream(self, channel: str, timeout: float) -> bool:
        """Does the one who will answer take bodies as streams?"""
        target = self._targets[channel]
        host = self._colocated.hosts.get(target)
        return host.takes_stream if host is not None else await self._desk.peers.wants_stream(target, timeout)

    async def ask(self, channel: str, request: Request, body: bytes | AsyncIterator[bytes], timeout: float, *,
                  content_type: str, headers: Mapping[str, str], caller: str, correlation_id: str,
                  traceparent: str) -> Answer:
        """The answer; errors are raised as they are, with the message's id."""
        target = self._targets[channel]
        stream = None if isinstance(body, bytes) else body
        identity = new_id()
        message = Message(
            id=identity, root=identity, body=body if isinstance(body, bytes) else b"", content_type=content_type,
            headers=dict(headers), channel=channel, caller=caller, correlation_id=correlation_id or identity,
            traceparent=traceparent, change_set=self._desk.change_set, created=time.time(),
            variables={VARIABLE: {"method": request.method, "path": request.path, "query": request.query,
                                  "operation": request.operation}})
        if self._desk.tracer is not None:
            self._desk.tracer.enter(message, "ask", channel, message.created)
        host = self._colocated.hosts.get(target)
        began = time.monotonic()
        try:
            if host is not None:
                reply = await host.reply(message, timeout, stream)
            else:
                reply = await self._desk.peers.ask(target, message, timeout, stream)
        except BaseException as error:
            self._failed(message, target, began, error)
            error.message_id = message.id  # type: ignore[attr-defined]
            raise
        answer = answer_of(message, reply.message, returned=reply.returned, stream=reply.stream)
        if reply.stream is not None:
            answer.stream = _Recorded(self, message, target, began, answer, timeout)
        else:
            self.record(message, target, began, answer.status, len(answer.body))
        self._desk.processed += 1
        return answer

    def record(self, message: Message, target: str, began: float, status: int, size: int,
               error: BaseException | None = None) -> None:
        """Write down how a call ended; `size` is the answer's."""
        if self._desk.tracer is not None:
            self._desk.tracer.end(message.traceparent, status=status,
                                  error="" if error is None else str(error) or type(error).__name__)
        kind = "" if error is None else error.title if isinstance(error, ArintError) else type(error).__name__
        self._calls.record(Action(
            root=message.id, message=message.id, flow=target, stage=STAGE, attempt=1, at=message.created,
            took=round(time.monotonic() - began, 6), node=self._desk.node, instance=self._desk.instance,
            outcome="answered", error="" if error is None else str(error) or kind, error_kind=kind,
            change_set=message.change_set, channel=message.channel, size=len(message.body), status=status,
            answered=size))

    def _failed(self, message: Message, target: str, began: float, error: BaseException) -> None:
        self._desk.failed += 1
        if isinstance(error, asyncio.CancelledError):
            self.record(message, target, began, CALLER_GONE, 0, MessageError("the caller did not wait"))
        else:
            self.record(message, target, began, int(status_of(error).code), 0, error)

    async def close(self) -> None:
        """Write the records that wait."""
        await self._colocated.close()
        await self._calls.close()


class _Recorded:
    """An answer's stream, whose end is the call's: within its time, and written down."""

    def __init__(self, calls: Immediate, message: Message, target: str, began: float, answer: Answer,
                 timeout: float) -> None:
        assert answer.stream is not None
        self._calls, self._message, self._target, self._began = calls, message, target, began
        self._stream, self._status = answer.stream, answer.status
        self._deadline = asyncio.get_running_loop().time() + timeout - (time.monotonic() - began)
        self._size = 0
        self._ended = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            async with asyncio.timeout_at(self._deadline):
                part = await anext(self._stream)
        except StopAsyncIteration:
            self._end(None)
            raise
        except TimeoutError:
            error = TimedOutError("the answer took longer than the channel allows")
            self._end(error)
            raise error from None
        except Exception as error:
            self._end(error)
            raise
        self._size += len(part)
        return part

    async def aclose(self) -> None:
        """The caller reads no further."""
        self._end(MessageError("the caller did not read it to its end"))
        await close(self._stream)

    def _end(self, error: BaseException | None) -> None:
        if not self._ended:
            self._ended = True
            self._calls.record(self._message, self._target, self._began, self._status, self._size, error)


