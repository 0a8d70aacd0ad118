"""The agent's socket: workers say Hello and beat; the command line and the console ask.

The first line tells who it is. The kernel is asked whose process opened the connection: this user's may ask anything,
one of a service's own user can only be its worker, and is known by its pid.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Literal

import msgspec

from arint.flows.contracts import Contract
from arint.runtime.control import Beat, Hello, Measures, ToWorker, encode_line, to_agent
from nodeagent.workers import Worker

log = logging.getLogger(__name__)

LONGEST_LINE = 2**20
MOST_UNREAD = 64 * 2**20
"""Bytes that may wait for a worker which does not read, before its connection is dropped."""
FIRST_LINE_WITHIN = 10.0


class Query(msgspec.Struct, frozen=True, tag="query"):
    """A question with one answer."""

    what: Literal["status", "cluster", "contracts"]


class Follow(msgspec.Struct, frozen=True, tag="follow"):
    """The status, once a second."""


class Logs(msgspec.Struct, frozen=True, tag="logs"):
    """What processes printed from these places on (by the process's name; None: its last `lines`).

    `whole`: without a line whose end is not printed yet.
    """

    places: dict[str, int | None]
    lines: int = 100
    whole: bool = False


Question = Query | Follow | Logs
Answer = Callable[[Question], AsyncIterator[msgspec.Struct]]
_first_line = msgspec.json.Decoder(Hello | Query | Follow | Logs)


class ControlSocket:
    """Serves at `path`. `find` gives the worker of an instance, `users` who else but this user a worker may be;
    `answer` the answers to a question.
    """

    def __init__(self, path: Path, find: Callable[[str], Worker | None], users: Callable[[], set[int]],
                 answer: Answer) -> None:
        self._path = path
        self._find = find
        self._users = users
        self._answer = answer
        self._open: set[asyncio.StreamWriter] = set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Open for as long as the context lasts. What an earlier agent left at the path is replaced."""
        self._path.unlink(missing_ok=True)
        before = os.umask(0o177)  # from its first moment the socket is this user's alone
        try:
            server = await asyncio.start_unix_server(self._serve, str(self._path), limit=LONGEST_LINE)
        finally:
            os.umask(before)
        try:
            yield
        finally:
            server.close()
            for writer in list(self._open):
                writer.close()
            await server.wait_closed()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            pid, user = _peer(writer)
            if user != os.geteuid() and user not in self._users():
                return
            async with asyncio.timeout(FIRST_LINE_WITHIN):
                line = await reader.readline()
            first = _first_line.decode(line)
            if isinstance(first, Hello):
                await self._serve_worker(first, pid, reader, writer)
            elif user == os.geteuid():
                await self._serve_question(first, reader, writer)
        except (OSError, TimeoutError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            log.debug("a connection ended: %s", error)
        finally:
            self._open.discard(writer)
            writer.close()

    async def _serve_worker(self, hello: Hello, pid: int, reader: asyncio.StreamReader,
                            writer: asyncio.StreamWriter) -> None:
        worker = self._find(hello.instance)
        if worker is None or worker.process.pid != hello.pid or pid != hello.pid:
            return  # not ours, or not yet: it dials again
        link = WorkerLink(writer)
        worker.connected(link)
        try:
            while line := await reader.readline():
                said = to_agent.decode(line)
                if isinstance(said, Beat):
                    worker.heard(said)
                elif isinstance(said, Contract):
                    worker.agrees(said)
                elif isinstance(said, Measures):
                    worker.measured(bytes(said.families))
        finally:
            worker.disconnected(link)

    async def _serve_question(self, question: Question, reader: asyncio.StreamReader,
                              writer: asyncio.StreamWriter) -> None:
        answering = asyncio.ensure_future(self._write_answers(question, writer))
        asked_on = asyncio.ensure_future(reader.read(1))  # the end of the connection, seen though nothing is written
        try:
            await asyncio.wait((answering, asked_on), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (answering, asked_on):
                task.cancel()
            await asyncio.gather(answering, asked_on, return_exceptions=True)

    async def _write_answers(self, question: Question, writer: asyncio.StreamWriter) -> None:
        async with contextlib.aclosing(self._answer(question)) as answers:  # type: ignore[type-var]
            async for answer in answers:
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()


class WorkerLink:
    """The agent's end of a worker's connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def send(self, line: ToWorker) -> None:
        """Send a line; a worker that reads nothing loses its connection instead of filling the agent's memory."""
        if self._writer.transport.get_write_buffer_size() > MOST_UNREAD:
            self._writer.transport.abort()
        elif not self._writer.is_closing():
            self._writer.write(encode_line(line))


def _peer(writer: asyncio.StreamWriter) -> tuple[int, int]:
    """The process that opened the connection, and whose it is, as the kernel knows it."""
    peer = writer.get_extra_info("socket")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, user, _ = struct.unpack("3i", credentials)
    return int(pid), int(user)
