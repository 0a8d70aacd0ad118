"""A program that serves HTTP on the Unix socket that it is given the path of, in ARINT_SOCKET."""

from __future__ import annotations

import asyncio
import binascii
import re
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from arint.command.child import Child, Launch
from arint.command.frames import Failing, ProgramError, Sending, raised, send
from arint.errors import ArintError, TimedOutError
from arint.flows.state import Reply
from arint.message import Message
from arint.sdk import Context

if TYPE_CHECKING:
    import httpx

SOCKET = "ARINT_SOCKET"
LARGEST_ANSWER = 64 * 2**20
_NEVER = 7 * 86400.0
"""The stage has a time limit of its own."""
_LOOK = 0.02
_LATER = frozenset({408, 425, 429, 502, 503, 504})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OURS = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection", "keep-alive", "te",
                   "trailer", "upgrade", "expect", "idempotency-key", "accept-encoding", "traceparent"})
"""Headers of the message's own request that mean something else here."""
_sends = msgspec.json.Decoder(list[Sending]).decode


class HttpProgram:
    """One running process of a program; see `NdjsonProgram`, which has the same shape."""

    def __init__(self, child: Child, service: str, socket: Path, concurrency: int) -> None:
        import httpx

        self.concurrency = concurrency
        self.lost = asyncio.Event()
        self.why = ""
        self.hung = 0
        self._child = child
        self._service = service
        self._socket = socket
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        transport = httpx.AsyncHTTPTransport(uds=str(socket), limits=limits)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://service", timeout=_NEVER,
                                         follow_redirects=False, trust_env=False)
        self._watching = asyncio.create_task(self._watch(), name=f"end of {service}")

    @classmethod
    async def start(cls, launch: Launch, *, service: str, socket: Path, concurrency: int,
                    within: float) -> HttpProgram:
        """Start it, and wait until it takes connections. Raises ArintError that says why it does not serve."""
        await asyncio.to_thread(socket.unlink, missing_ok=True)
        env = {**launch.env, SOCKET: str(socket)}
        child = await Child.start(msgspec.structs.replace(launch, env=env), piped=False)
        program = cls(child, service, socket, concurrency)
        try:
            async with asyncio.timeout(within):
                await program._until_it_listens()
        except TimeoutError:
            await program.end()
            raise TimedOutError(f"the program takes no connections after {within:g} s", where=f"service/{service}",
                                remedy=f"it listens on the Unix socket whose path is in {SOCKET}") from None
        except BaseException:
            await program.end()
            raise
        return program

    async def call(self, message: Message, context: Context) -> Reply:
        """One request; its status says what became of the message."""
        import httpx

        try:
            async with self._client.stream("POST", "/", content=message.body,
                                           headers=_headers(message, context)) as answer:
                body = await self._body(answer)
        except asyncio.CancelledError:
            self.hung += 1
            raise
        except httpx.HTTPError as error:
            raise await self._broken(error) from None
        self.hung = max(self.hung - 1, 0)
        return _reply(answer, body, message, context)

    async def stop(self, grace: float) -> None:
        """SIGTERM, and `grace` seconds to finish."""
        await self._child.stop(grace, close_stdin=False)
        await self._watching

    async def end(self) -> None:
        """End it at once."""
        self._child.kill()
        await self._watching

    def lose(self, why: str) -> None:
        """It cannot be waited for any more."""
        self.why = self.why or why
        self.lost.set()
        self._child.kill()

    async def _until_it_listens(self) -> None:
        while True:
            if self.lost.is_set():
                raise self._error()
            try:
                _, writer = await asyncio.open_unix_connection(str(self._socket))
            except OSError:
                await asyncio.sleep(_LOOK)
            else:
                writer.close()
                return

    async def _watch(self) -> None:
        await self._child.ended.wait()
        self.why = self.why or f"the program ended with {self._child.told}"
        self.lost.set()
        await self._client.aclose()
        self._socket.unlink(missing_ok=True)

    async def _body(self, answer: httpx.Response) -> bytes:
        parts, size = [], 0
        async for part in answer.aiter_raw():
            parts.append(part)
            size += len(part)
            if size > LARGEST_ANSWER:
                raise ProgramError(f"the program answered more than {LARGEST_ANSWER // 2**20} MiB",
                                   where=f"service/{self._service}")
        return b"".join(parts)

    async def _broken(self, error: Exception) -> ArintError:
        """The connection broke: because the program did, most likely, which the kernel tells a moment later."""
        try:
            async with asyncio.timeout(0.5):
                await self.lost.wait()
        except TimeoutError:
            return ProgramError(f"the program gave no right answer: {type(error).__name__}: {error}",
                                where=f"service/{self._service}")
        return self._error()

    def _error(self) -> ArintError:
        return ProgramError(f"{self.why}, before it had answered", kind="program ended",
                            where=f"service/{self._service}", remedy="its last words: arintctl logs")


def _headers(message: Message, context: Context) -> dict[str, str]:
    """The message's own headers, and what is known of it."""
    own = {name: value for name, value in message.headers.items()
           if name not in _OURS and not name.startswith("arint-")
           and _TOKEN.fullmatch(name) and _VALUE.fullmatch(value)}
    known = {"Content-Type": message.content_type, "Idempotency-Key": context.stage, "Arint-Message": message.id,
             "Arint-Attempt": str(message.attempt), "Arint-Deadline": f"{context.deadline:.3f}",
             "Accept-Encoding": "identity"}
    if message.traceparent:
        known["traceparent"] = message.traceparent
    return {**own, **known}


def _reply(answer: httpx.Response, body: bytes, message: Message, context: Context) -> Reply:
    """2xx is a result; 4xx a rejection; what may be better later is unavailable; all else uses an attempt."""
    status = answer.status_code
    if not 200 <= status < 300:
        what = body[:1000].decode(errors="replace").strip() or f"the program answered {status}"
        raise raised(Failing(what, reject=400 <= status < 500 and status not in _LATER, unavailable=status in _LATER,
                             retry_after=_seconds(answer.headers.get("retry-after", ""))), context.service)
    for sending in _sent(answer.headers):
        send(context, sending)
    if status == 204:
        return Reply(message, context.outputs)
    content_type = answer.headers.get("content-type", message.content_type)
    return Reply(msgspec.structs.replace(message, body=body, content_type=content_type), context.outputs)


def _sent(headers: Mapping[str, str]) -> list[Sending]:
    """`Arint-Sends`: the list of `sends` as base64 of its JSON."""
    coded = headers.get("arint-sends", "")
    try:
        return _sends(b64decode(coded, validate=True)) if coded else []
    except (binascii.Error, ValueError) as error:  # msgspec's errors are ValueErrors
        raise ProgramError(f"the header Arint-Sends does not fit: {error}") from None


def _seconds(text: str) -> float | None:
    return float(text) if text.isdigit() and len(text) < 9 else None
