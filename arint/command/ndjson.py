"""A program that is spoken to by lines: requests on its stdin, answers on its stdout, in any order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from arint.command.child import Child, Launch
from arint.command.frames import (
    HELLO,
    LONGEST_LINE,
    Answer,
    ProgramError,
    answer_of,
    hello_line,
    raised,
    reply_of,
    request_line,
)
from arint.errors import ArintError, TimedOutError
from arint.flows.state import Reply
from arint.message import Message
from arint.sdk import Context

log = logging.getLogger(__name__)

MOST_NOISE = 1000
"""Lines that are no answers, since the last that was one, after which a program is ended."""
MOST_NOISE_TOLD = 20
LAST_LINES = 1.0
"""Seconds for what a program had written when it ended."""


class NdjsonProgram:
    """One running process of a program. `lost` is set when it is gone, or no longer to be spoken to; `why` says why."""

    def __init__(self, child: Child, service: str) -> None:
        self.concurrency = 1
        self.lost = asyncio.Event()
        self.why = ""
        self._child = child
        self._service = service
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._forgotten: set[str] = set()
        self._count = 0
        self._noise = 0
        self._reading = asyncio.create_task(self._read(), name=f"answers of {service}")

    @classmethod
    async def start(cls, launch: Launch, *, service: str, instance: str, config: Mapping[str, Any],
                    within: float) -> NdjsonProgram:
        """Start it, and wait for its answer to the hello. Raises ArintError that says why it does not serve."""
        program = cls(await Child.start(launch, piped=True), service)
        try:
            async with asyncio.timeout(within):
                answer = await program._ask(HELLO, hello_line(service, instance, config))
        except TimeoutError:
            await program.end()
            raise TimedOutError(f"the program did not answer the hello within {within:g} s", where=f"service/{service}",
                                remedy=f'it writes {{"id": "{HELLO}"}} and a line break, and flushes, when it is ready'
                                ) from None
        except BaseException:
            await program.end()
            raise
        if answer.error is not None:
            await program.end()
            raise raised(answer.error, service)
        program.concurrency = max(answer.concurrency, 1)
        return program

    @property
    def hung(self) -> int:
        """Requests that were given up and never answered: each may hold the program up for good."""
        return len(self._forgotten)

    async def call(self, message: Message, context: Context) -> Reply:
        """Let it process a message. Raises what it says, or ProgramError when it ends first."""
        self._count += 1
        identity = str(self._count)
        return reply_of(await self._ask(identity, request_line(identity, message, context)), message, context)

    async def stop(self, grace: float) -> None:
        """End its input, and give it `grace` seconds to finish."""
        await self._child.stop(grace, close_stdin=True)
        await self._reading

    async def end(self) -> None:
        """End it at once."""
        self._child.kill()
        await self._reading

    def lose(self, why: str) -> None:
        """It is gone, or its word cannot be trusted any more: whoever waits for it is told so."""
        if self.lost.is_set():
            return
        self.why = why
        self.lost.set()
        self._child.kill()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(self._error())

    def _error(self) -> ArintError:
        return ProgramError(f"{self.why}, before it had answered", kind="program ended",
                            where=f"service/{self._service}", remedy="its last words: arintctl logs")

    async def _ask(self, identity: str, line: bytes) -> Answer:
        if self.lost.is_set():
            raise self._error()
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[identity] = waiting
        try:
            with contextlib.suppress(BrokenPipeError):  # it may have answered all the same; else its end is told
                await self._child.write(line)
            return await waiting
        finally:
            del self._waiting[identity]
            if waiting.cancelled() or not waiting.done():
                self._forgotten.add(identity)

    async def _read(self) -> None:
        """Every line until the last; then what became of the program."""
        ended = asyncio.create_task(self._child.ended.wait())
        try:
            why = await self._lines(ended)
            self.lose(why)
            await ended
        finally:
            ended.cancel()
            self._child.close()

    async def _lines(self, ended: asyncio.Task[bool]) -> str:
        while True:
            reading = asyncio.ensure_future(self._child.read_line())
            try:
                await asyncio.wait((reading, ended), return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():  # it is gone; something that it started may hold its stdout open
                    await asyncio.wait((reading,), timeout=LAST_LINES)
                line = await reading if reading.done() else b""
            except ValueError:
                return f"the program wrote a line of more than {LONGEST_LINE // 2**20} MiB and was ended"
            finally:
                reading.cancel()
            if not line.endswith(b"\n"):
                return await self._last(line, ended)
            if not self._take(line):
                return f"the program wrote {MOST_NOISE} lines that are no answers and was ended"

    async def _last(self, rest: bytes, ended: asyncio.Task[bool]) -> str:
        """Its stdout has ended. `rest` is a line without its break: half an answer is none."""
        await asyncio.wait((ended,), timeout=LAST_LINES)
        half = " in the middle of a line" if rest else ""
        if not ended.done():
            return f"the program closed its stdout{half} and was ended"
        return f"the program ended with {self._child.told}{half}"

    def _take(self, line: bytes) -> bool:
        """Hand an answer to whoever waits for it; False when there was too much else."""
        if not line.strip():
            return True
        answer = answer_of(line)
        waiting = self._waiting.get(answer.id) if answer is not None else None
        if answer is not None and waiting is not None and not waiting.done():
            self._noise = 0
            waiting.set_result(answer)
        elif answer is not None and answer.id in self._forgotten:
            self._forgotten.discard(answer.id)
        else:
            self._noise += 1
            if self._noise <= MOST_NOISE_TOLD:
                log.warning("no answer to anything (what is printed goes to stderr): %s",
                            line[:200].decode(errors="replace").rstrip())
        return self._noise < MOST_NOISE
