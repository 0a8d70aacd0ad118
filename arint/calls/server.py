"""Where an instance answers calls: a Unix socket, each call a task of its own, cancelled when its caller goes."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from arint.calls.frames import WINDOW, Answered, Call, Cancel, Credit, Failed, Frame, FrameError, Hello, Leaving, Part
from arint.calls.frames import Refused as RefusedFrame
from arint.calls.link import Link
from arint.calls.sockets import Sockets
from arint.calls.streams import Inflow, Outflow, close
from arint.errors import ArintError, MessageError
from arint.failures import tell
from arint.flows.state import Reply
from arint.message import Message

log = logging.getLogger(__name__)

PARTING = 2.0
"""Seconds that callers have to hang up."""
BACKLOG = 128
_CREDENTIALS = struct.Struct("3i")


class Asked(msgspec.Struct, frozen=True):
    """A call as it is answered: to be done within `timeout` seconds. `body` is set where it comes as a stream."""

    target: str
    message: Message
    timeout: float
    body: AsyncIterator[bytes] | None = None


Answerer = Callable[[Asked], Awaitable[Reply]]


class CallServer:
    """Answers under one name. `hello` is what callers are told of this instance."""

    hello: Hello
    answerer: Answerer

    def __init__(self, sockets: Sockets, name: str) -> None:
        self.leaving = False
        self._sockets = sockets
        self._name = name
        self._links: set[_Callers] = set()
        self._listening: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._parted: asyncio.Future[None] | None = None

    def bind(self) -> None:
        """Make the socket; who knocks is refused until the start."""
        self._listening = self._sockets.bind(self._name)

    async def start(self, hello: Hello, answerer: Answerer) -> None:
        """Be there."""
        self.hello, self.answerer = hello, answerer
        if self._listening is None:
            self.bind()
        self._server = await asyncio.get_running_loop().create_unix_server(
            lambda: _Callers(self), sock=self._listening, backlog=BACKLOG)

    @property
    def in_flight(self) -> int:
        """Calls under way."""
        return sum(len(link.tasks) for link in self._links)

    async def stop(self, grace: float) -> None:
        """Be there no more: refuse what comes, end what has begun within `grace` seconds, then cancel it."""
        self.leaving = True
        if self._listening is not None:
            self._sockets.remove(self._name)
        if self._server is not None:
            self._server.close()
        for link in self._links:
            link.put(Leaving())
        if tasks := [task for link in self._links for task in link.tasks.values()]:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)
        await self._until_parted()
        for link in list(self._links):
            link.close()

    async def _until_parted(self) -> None:
        """Callers hang up once they know that this leaves. What they sent before is still refused in words: a mere
        end would leave them in doubt whether it was done.
        """
        if self._links:
            self._parted = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._parted], timeout=PARTING)

    def joined(self, link: _Callers) -> None:
        """A caller has connected."""
        self._links.add(link)

    def parted(self, link: _Callers) -> None:
        """A caller's connection is gone."""
        self._links.discard(link)
        if not self._links and self._parted is not None and not self._parted.done():
            self._parted.set_result(None)


class _Callers(Link):
    """One caller's connection."""

    def __init__(self, server: CallServer) -> None:
        super().__init__()
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self._server = server
        self._inflows: dict[int, Inflow] = {}
        self._outflows: dict[int, Outflow] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if _peer_uid(transport) not in (os.geteuid(), 0):
            self.abort()
            return
        self._server.joined(self)
        self.put(self._server.hello)
        if self._server.leaving:
            self.put(Leaving())

    def on_frame(self, frame: Frame) -> None:
        match frame:
            case Call():
                self._begin(frame)
            case Part(id=number, data=data, last=last):
                inflow = self._inflows.get(number)  # none: its call has ended already
                if inflow is not None and not inflow.arrived(data, last=last):
                    raise FrameError("more of a body than there was credit for")
            case Credit(id=number, octets=octets):
                if (outflow := self._outflows.get(number)) is not None:
                    outflow.more(octets)
            case Cancel(id=number):
                if (task := self.tasks.get(number)) is not None:
                    task.cancel()
            case _:
                raise FrameError(f"a caller does not send {type(frame).__name__}")

    def on_end(self) -> None:
        self._server.parted(self)
        for task in self.tasks.values():
            task.cancel()

    def _begin(self, call: Call) -> None:
        if self._server.leaving:
            self.put(RefusedFrame(call.id))
            return
        if call.id in self.tasks:
            raise FrameError(f"the call {call.id} is under way already")
        self.tasks[call.id] = self._loop.create_task(self._work(call))

    async def _work(self, call: Call) -> None:
        try:
            reply = await self._server.answerer(Asked(call.target, call.message, call.timeout, self._body(call)))
            self.put(_answer(call, reply))
            if reply.stream is not None:
                await self._stream(call, reply.stream)
        except asyncio.CancelledError:
            if not self.gone and not self._server.leaving:
                return  # its caller told so, and waits for nothing
            self._tell(call, MessageError("the instance was stopped before it could answer"))
        except Exception as error:  # user code may raise anything; the caller is told
            if not isinstance(error, ArintError | TimeoutError):
                log.exception("%s failed [%s]", call.target, call.message.id)
            self._tell(call, error)
        finally:
            del self.tasks[call.id]
            self._inflows.pop(call.id, None)
            self._outflows.pop(call.id, None)

    def _body(self, call: Call) -> Inflow | None:
        if not call.streamed:
            return None
        inflow = self._inflows[call.id] = Inflow(lambda octets: self.put(Credit(call.id, octets)))
        self.put(Credit(call.id, WINDOW))
        return inflow

    async def _stream(self, call: Call, stream: AsyncIterator[bytes]) -> None:
        outflow = self._outflows[call.id] = Outflow(WINDOW)
        try:
            await outflow.send(stream, lambda data, last: self.put(Part(call.id, data, last)))
        finally:
            await close(stream)

    def _tell(self, call: Call, error: BaseException) -> None:
        if not self.gone:
            self.put(Failed(call.id, tell(error, call.target)))


def _answer(call: Call, reply: Reply) -> Answered:
    before, after = call.message, reply.message
    headers = after.headers if after.headers is not before.headers else None
    variables = after.variables if after.variables is not before.variables else None
    if reply.stream is not None:
        return Answered(call.id, b"", after.content_type, headers, variables, streamed=True)
    return Answered(call.id, bytes(after.body) if reply.returned else None, after.content_type, headers, variables)


def _peer_uid(transport: asyncio.BaseTransport) -> int:
    """Who opened the connection, as the kernel knows it."""
    peer = transport.get_extra_info("socket")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1])
