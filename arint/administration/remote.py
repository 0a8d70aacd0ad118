"""The caller's side: a link that reaches the cluster over the bus, as a user with a certificate of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Any, NoReturn

import msgspec

from arint.administration import frames
from arint.administration.registry import Call
from arint.bus.connection import Bus
from arint.errors import ArintError, NobodyError, NotValidError, TimedOutError, UnreachableError, UsageError
from arint.failures import error_of
from arint.home import Home
from arint.operations.connect import Link
from arint.runtime.control import BusSettings
from arint.version import VERSION

_BEGIN = 5.0
"""Seconds for somebody to take a call."""
_CONNECT = 5.0
_DIAL_EACH = 1.0


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How a user reaches a cluster: the brokers' addresses, tried in turn, and the paths of the user's PEM files."""

    cluster: str
    user: str
    servers: tuple[str, ...]
    ca: str = ""
    certificate: str = ""
    key: str = ""
    read_only: bool = False


class RemoteLink(Link):
    """A cluster as a user reaches it from anywhere: operations travel, and nothing else does."""

    def __init__(self, access: Access) -> None:
        super().__init__(Home("/nonexistent"))
        self.access = access
        self.remote = self
        self._opened = AsyncExitStack()
        self._wire: Bus | None = None
        self._opening = asyncio.Lock()

    async def __aexit__(self, *failure: Any) -> None:
        await self._opened.aclose()
        self._wire = None

    async def call(self, call: Call) -> Any:
        """Run an operation there. Raises what it raised, UnreachableError, or DeniedError."""
        async with aclosing(self.stream(call)) as values:
            async for value in values:
                return value
        raise UnreachableError("the administration service ended without an answer", where=call.operation.name)

    async def stream(self, call: Call) -> AsyncGenerator[Any, None]:
        """Run an operation there, and yield what it yields."""
        data = frames.encode(call.operation.arguments(**call.arguments))
        if len(data) > frames.LONGEST_CALL:
            raise UsageError(f"the arguments take {len(data):,} bytes; a call takes {frames.LONGEST_CALL:,}",
                             where=call.operation.name, remedy="do it on a server's own home")
        decoder = msgspec.msgpack.Decoder(call.operation.result)
        conversation = _Conversation(await self._connected(), self.access, call)
        async with aclosing(conversation.values(data)) as values:
            async for value in values:
                try:
                    decoded = decoder.decode(value)
                except msgspec.MsgspecError as error:
                    raise ArintError(f"the answer cannot be read: {error}", where=call.operation.name, remedy=(
                        "are arintctl and the cluster of one release? arintctl --version")) from None
                yield decoded

    async def _connected(self) -> Bus:
        async with self._opening:
            if self._wire is None:
                access = self.access
                bus = Bus(f"arintctl {access.user}", inbox=frames.reply_prefix(access.user, Bus.new_token()))
                try:
                    await bus.open(BusSettings(access.servers, access.ca, access.certificate, access.key),
                                   timeout=_CONNECT + _DIAL_EACH * len(access.servers))
                except UnreachableError as error:
                    raise UnreachableError(error.what, where=error.where, remedy=(
                        "is one of these servers up, and reached from here? arintctl context show; on a server's own "
                        "home: arintctl status")) from None
                self._wire = bus
                self._opened.push_async_callback(bus.close)
            return self._wire

    @property
    def config(self) -> NoReturn:
        """There is none here."""
        raise _for_the_node(self.access)

    async def etcd(self) -> NoReturn:
        """Never from here."""
        raise _for_the_node(self.access)

    async def bus(self) -> NoReturn:
        """Never from here."""
        raise _for_the_node(self.access)


def _for_the_node(access: Access) -> UsageError:
    return UsageError("this is done on a server's own home, not over a context", where=f"cluster {access.cluster}",
                      remedy="run it on that machine, with --home")


class _Conversation:
    """One call, from the question to the last frame."""

    def __init__(self, bus: Bus, access: Access, call: Call) -> None:
        self._bus, self._access, self._call = bus, access, call
        self._frames: asyncio.Queue[bytes | ArintError] = asyncio.Queue()  # bounded by the window
        self._control = ""
        self._seen = 0
        self._where = f"cluster {access.cluster}"

    async def values(self, arguments: bytes) -> AsyncGenerator[bytes, None]:
        """The encoded values, as they come. Raises what the operation raised."""
        inbox = self._bus.expect(self._arrived)
        self._bus.on_down.add(self._break)
        keeping = asyncio.create_task(self._keep_telling())
        question = frames.Asked(msgspec.Raw(arguments), self._access.read_only, VERSION)
        self._bus.publish(frames.call_subject(self._access.user, self._call.operation.name), frames.encode(question),
                          reply=inbox)
        try:
            async with aclosing(self._until_the_end()) as values:
                async for value in values:
                    yield value
            self._control = ""
        finally:
            keeping.cancel()
            self._bus.forget(inbox)
            self._bus.on_down.discard(self._break)
            if self._control:
                self._bus.publish(self._control, frames.encode(frames.Cancel()))
                self._bus.wire.flush_now()

    async def _until_the_end(self) -> AsyncGenerator[bytes, None]:
        parts: list[bytes] = []
        size = 0
        while True:
            match await self._next():
                case frames.Part(data):
                    parts.append(data)
                    size += len(data)
                    if size > frames.LONGEST_VALUE:
                        raise ArintError("the answer is too long", where=self._call.operation.name)
                case frames.Item(data):
                    yield b"".join([*parts, data])
                    parts, size = [], 0
                case frames.Result(data):
                    if not self._call.operation.streams:
                        yield b"".join([*parts, data])
                    return
                case frames.Failed(told, problems):
                    self._control = ""
                    error = error_of(told)
                    if isinstance(error, NotValidError):
                        error.problems = problems
                    raise error
                case frames.Progressed(step):
                    if self._call.progress is not None:
                        self._call.progress(step)
                case _:
                    continue

    async def _next(self) -> frames.Frame:
        limit = frames.SILENCE if self._control else _BEGIN
        try:
            async with asyncio.timeout(limit):
                data = await self._frames.get()
        except TimeoutError:
            if not self._control:
                raise TimedOutError(f"nobody took the call within {limit:g} s", where=self._where,
                                    remedy=self._what_now()) from None
            raise self._lost(f"the administration service has said nothing for {limit:g} s") from None
        if isinstance(data, ArintError):
            raise data
        found = frames.numbered.decode(data)
        if found.number != self._seen + 1:
            raise self._lost("a part of the answer was lost on the way")
        self._seen = found.number
        if isinstance(found.frame, frames.Begun):
            self._control = found.frame.control
            self._where = f"node {found.frame.node}"
        if found.number % (frames.WINDOW // 4) == 0:
            self._tell_seen()
        return found.frame

    def _lost(self, what: str) -> UnreachableError:
        return UnreachableError(what, where=self._where, remedy=self._what_now())

    def _what_now(self) -> str:
        if self._call.operation.role == "viewer":
            return "try again"
        return "it may have been done: arintctl audit list tells; look before you do it again"

    def _arrived(self, subject: bytes, reply: bytes, body: bytes, header: bytes) -> None:
        if header[8:12] == b" 503":
            self._frames.put_nowait(NobodyError("no administration service listens", where=self._where, remedy=(
                "it runs on every server: arintctl status on a server's own home")))
        else:
            self._frames.put_nowait(body)

    def _break(self) -> None:
        self._frames.put_nowait(self._lost("the connection to the cluster broke"))

    def _tell_seen(self) -> None:
        if self._control:
            self._bus.publish(self._control, frames.encode(frames.Seen(self._seen)))

    async def _keep_telling(self) -> None:
        """While the answer is waited for: who has gone away is not worked for."""
        while True:
            await asyncio.sleep(frames.ALIVE)
            self._tell_seen()
