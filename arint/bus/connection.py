"""The connection to the bus: made once a process, kept for ever."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from arint.bus import headers as header_lines
from arint.errors import DeniedError, NobodyError, TimedOutError, UnreachableError
from arint.runtime.control import BusSettings

if TYPE_CHECKING:
    from arint.bus.wire import Handler, Wire


_REFUSALS = {
    "CERTIFICATE_EXPIRED": "the broker refuses this certificate: it has expired, or is not valid yet",
    "UNKNOWN_CA": "the broker refuses this certificate: another CA signed it",
    "certificate has expired": "the broker's certificate has expired",
    "certificate is not yet valid": "the broker's certificate is not valid yet",
    "CERTIFICATE_VERIFY_FAILED": "the broker's certificate is not of the CA that is trusted here",
}
"""What OpenSSL says, in words; looked for in this order."""


class Reply(msgspec.Struct, frozen=True):
    """What came back (or in): `header` is the raw block, read with `arint.bus.headers`."""

    subject: str
    body: bytes
    header: bytes = b""

    @property
    def status(self) -> int:
        """503 and its like of a control message, 0 of an ordinary one."""
        return header_lines.status(self.header)


class Request(msgspec.Struct, frozen=True):
    """A request that a subscriber is to answer with `respond`."""

    bus: Bus
    subject: str
    reply: str
    body: bytes
    header: bytes = b""

    def respond(self, body: bytes, headers: Mapping[str, str | bytes] | None = None) -> None:
        """Answer. Does nothing where no answer is wanted."""
        if self.reply:
            self.bus.publish(self.reply, body, headers)


class Subscription:
    """A subscription; `close` ends it, and lets the calls that have begun finish."""

    def __init__(self, bus: Bus, callback: Callable[[Request], Awaitable[None]]) -> None:
        self._bus, self._callback = bus, callback
        self._tasks: set[asyncio.Task[None]] = set()
        self.number = 0

    def on_message(self, subject: bytes, reply: bytes, body: bytes, header: bytes) -> None:
        """Start the callback in a task of its own."""
        request = Request(self._bus, subject.decode(), reply.decode(), body, header)
        task = asyncio.ensure_future(self._callback(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self, grace: float = 10.0) -> None:
        """Take nothing new; wait at most `grace` seconds for what has begun, then cancel it.

        What was on its way when it closes is still begun: nobody else will be given it.
        """
        deadline = asyncio.get_running_loop().time() + grace
        if grace > 0:
            await self._bus.wire.unlisten_gently(self.number, min(grace, 2.0))
        else:
            self._bus.wire.unlisten(self.number)
        if self._tasks:
            left = max(deadline - asyncio.get_running_loop().time(), 0.0)
            _, late = await asyncio.wait(self._tasks, timeout=left)
            for task in late:
                task.cancel()


class Bus:
    """A connection that is dialled again for as long as it takes.

    `on_down` and `on_up` are called (no arguments, must not block) when the connection is lost and when it is back.
    """

    wire: Wire

    def __init__(self, name: str, *, inbox: str = "") -> None:
        self.name = name
        self.on_down: set[Callable[[], None]] = set()
        self.on_up: set[Callable[[], None]] = set()
        self._up = asyncio.Event()
        self._prefix = inbox or self.new_inbox()
        self._numbers = itertools.count(1)
        self._waiting: dict[bytes, Handler] = {}

    @classmethod
    async def connect(cls, settings: BusSettings, *, name: str = "arint", timeout: float = 10.0) -> Self:
        """Connect, over mTLS where the settings name certificates. Raises as `open`, after `timeout` seconds."""
        bus = cls(name)
        await bus.open(settings, timeout=timeout)
        return bus

    async def open(self, settings: BusSettings, *, timeout: float = 10.0) -> None:
        """`connect`, for a bus that was made with an inbox of its own. Who was let in just now is waited for.

        Raises UnreachableError, or DeniedError where the broker answers and does not let this certificate in.
        """
        from arint.bus.wire import Wire

        files = _Files(settings)
        self.wire = Wire(self._went_down, files.fresh)
        last: list[Exception] = []
        refused = False

        async def remember(error: Exception) -> None:
            nonlocal refused
            last[:] = [error]
            refused |= "Authorization Violation" in str(error)

        dialling = asyncio.ensure_future(self.wire.connect(
            servers=list(settings.servers), name=self.name, tls=files.fresh(), error_cb=remember,
            reconnected_cb=self._came_up, ping_interval=2, max_outstanding_pings=2, connect_timeout=1,
            reconnect_time_wait=0.2, max_reconnect_attempts=-1, skip_subject_validation=True, pending_size=64 * 2**20))
        try:
            await asyncio.wait([dialling], timeout=timeout)  # a cancellation can be lost in there
            if not dialling.done():
                raise TimeoutError  # noqa: TRY301 - told below
            dialling.result()
        except (TimeoutError, OSError) as error:
            await self.close()
            if refused:
                raise DeniedError("the broker does not let this certificate in", where=", ".join(settings.servers),
                                  remedy="it is of somebody who was removed, or of another cluster") from error
            why = f": {last[-1]}" if last else ""
            for sign, told in _REFUSALS.items():
                if sign in why:
                    raise UnreachableError(told, where=", ".join(settings.servers), remedy=(
                        "compare the clocks (date -u), then see arintctl cluster certs list")) from error
            raise UnreachableError(f"the bus does not answer{why}", where=", ".join(settings.servers),
                                   remedy="see that nats-server runs: arintctl status") from error
        finally:
            dialling.cancel()
        self.wire.listen(f"{self._prefix}.*", "", self._answered)
        self._up.set()

    async def close(self) -> None:
        """Send what is waiting, and part."""
        self._up.clear()
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self.wire.close(), 2.0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def connected(self) -> bool:
        """Is the connection up, as far as is known? A silent one is seen after 6 s."""
        return self._up.is_set()

    @property
    def max_payload(self) -> int:
        """What one message may hold, headers and body, in bytes."""
        return int(self.wire.max_payload)

    async def wait_connected(self, timeout: float) -> None:
        """Wait for the connection. Raises UnreachableError after `timeout` seconds."""
        try:
            await asyncio.wait_for(self._up.wait(), timeout)
        except TimeoutError:
            raise UnreachableError("the connection to the bus is lost", where=self.name,
                                   remedy="it is dialled again all the time; see arintctl status") from None

    def publish(self, subject: str, body: bytes, headers: Mapping[str, str | bytes] | None = None,
                reply: str = "") -> None:
        """Send without waiting for anything. While the connection is away the message is lost."""
        if not self.connected:
            return
        lines = header_lines.encode(headers) if headers else b""
        self.wire.put(header_lines.frame(subject, reply, lines, body) if lines
                      else header_lines.plain_frame(subject, reply, body))

    async def request(self, subject: str, body: bytes = b"", timeout: float = 5.0,
                      headers: Mapping[str, str | bytes] | None = None) -> Reply:
        """One request, one answer.

        Raises TimedOutError when none came in time, NobodyError when nobody listens, UnreachableError
        when the connection broke.
        """
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        inbox = self.expect(lambda s, r, b, h: None if answer.done() else answer.set_result(Reply(s.decode(), b, h)))
        broken = self._fail_when_down(answer)
        try:
            async with asyncio.timeout(timeout):
                await self._up.wait()
                self.publish(subject, body, headers, inbox)
                reply = await answer
        except TimeoutError:
            raise TimedOutError(f"no answer within {timeout:g} s", where=subject) from None
        finally:
            self.forget(inbox)
            self.on_down.discard(broken)
        if reply.status == 503 and not reply.body:
            raise NobodyError("nobody answers", where=subject)
        return reply

    async def subscribe(self, subject: str, queue: str, callback: Callable[[Request], Awaitable[None]]) -> Subscription:
        """Call `callback` in a task of its own for each message; one member of `queue` gets each."""
        subscription = Subscription(self, callback)
        subscription.number = self.wire.listen(subject, queue, subscription.on_message)
        return subscription

    def new_inbox(self) -> str:
        """A reply subject that nobody else has, to be listened on."""
        return f"_INBOX.{self.new_token()}"

    @staticmethod
    def new_token() -> str:
        """A part of a subject that nobody else has."""
        return secrets.token_hex(11)

    def expect(self, handler: Handler) -> str:
        """A reply subject whose messages go to `handler` until `forget`."""
        token = str(next(self._numbers))
        inbox = f"{self._prefix}.{token}"
        self._waiting[inbox.encode()] = handler
        return inbox

    def forget(self, inbox: str) -> None:
        """Drop a reply subject."""
        self._waiting.pop(inbox.encode(), None)

    def _answered(self, subject: bytes, reply: bytes, body: bytes, header: bytes) -> None:
        handler = self._waiting.get(subject)
        if handler is not None:
            handler(subject, reply, body, header)

    def _fail_when_down(self, answer: asyncio.Future[Any]) -> Callable[[], None]:
        def broken() -> None:
            if not answer.done():
                answer.set_exception(UnreachableError("the connection to the bus broke", where=self.name))

        self.on_down.add(broken)
        return broken

    def _went_down(self) -> None:
        if self._up.is_set():
            self._up.clear()
            for callback in tuple(self.on_down):
                callback()

    async def _came_up(self) -> None:
        self._up.set()
        for callback in tuple(self.on_up):
            callback()


class _Files:
    """The certificates of a connection as they lie on disk: read again when they have changed."""

    def __init__(self, settings: BusSettings) -> None:
        self._settings = settings
        self._seen: tuple[float, ...] | None = None

    def fresh(self) -> ssl.SSLContext | None:
        """Mutual TLS 1.3; None where nothing is new, and where no certificates are named (tests).

        Raises OSError (ssl.SSLError) the first time; afterwards files that do not fit each other, since they are being
        changed, are looked at again by the next attempt.
        """
        settings = self._settings
        if not settings.ca:
            return None
        try:
            stamp = tuple(Path(path).stat().st_mtime for path in (settings.ca, settings.certificate, settings.key))
            if stamp == self._seen:
                return None
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=settings.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_cert_chain(settings.certificate, settings.key)
        except OSError:
            if self._seen is None:
                raise
            return None
        self._seen = stamp
        return context
