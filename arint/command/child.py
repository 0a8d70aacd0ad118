"""One process of a program: started with pipes or none, in a process group of its own, ended with all it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import msgspec

from arint.accounts import Account
from arint.command.frames import LONGEST_LINE
from arint.errors import ArintError, NotFoundError

_POLL = 0.05
ASK_AGAIN = 2.0
"""Seconds between the polite signal and the one that cannot be refused."""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What is started: `argv` in the folder `cwd`, with exactly the environment `env`, as `account` if there is one."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    account: Account | None = None


class Child:
    """A running program. What it writes to stderr goes where this process's own does; with `piped`, stdin and stdout
    are `write` and `read_line`. `ended` is set when it is gone, and all that was in its process group.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self.ended = asyncio.Event()
        self._process = process
        self._pidfd: int | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writing: _Writing | None = None
        self._pipes: list[asyncio.BaseTransport] = []

    @classmethod
    async def start(cls, launch: Launch, *, piped: bool) -> Child:
        """Start it. Raises NotFoundError or ArintError that says why it cannot be."""
        child = cls(_spawn(launch, piped=piped))
        child._watch()
        if piped:
            try:
                await child._open_pipes()
            except BaseException:
                child.kill()
                raise
        return child

    @property
    def told(self) -> str:
        """How it ended: `code 3`, `signal 9 (SIGKILL)`."""
        code = self._process.returncode
        if code is None:
            return "no code yet"
        return f"code {code}" if code >= 0 else f"signal {-code} ({_signal_name(-code)})"

    async def write(self, line: bytes) -> None:
        """Give it a line, once it has taken those before. Raises BrokenPipeError when it takes no more."""
        assert self._writing is not None
        await self._writing.write(line)

    async def read_line(self) -> bytes:
        """Its next line, without the break; b"" with `at_end` after the last. Raises ValueError for one too long."""
        assert self._reader is not None
        return await self._reader.readline()

    async def stop(self, grace: float, *, close_stdin: bool) -> None:
        """Ask it to end, by the end of its input or by SIGTERM; after `grace` seconds by force."""
        if close_stdin and self._writing is not None:
            self._writing.close()
        else:
            self._send(signal.SIGTERM)
        for wait, further in ((grace, signal.SIGTERM), (ASK_AGAIN if close_stdin else 0.0, signal.SIGKILL)):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self.ended.wait()
            if self.ended.is_set():
                return
            self._send(further)
        await self.ended.wait()

    def kill(self) -> None:
        """End it, and its process group, at once."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:  # an old kernel or a strict sandbox: ask now and then
            loop.call_later(_POLL, self._poll)
        else:
            loop.add_reader(self._pidfd, self._has_ended)

    def _poll(self) -> None:
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            asyncio.get_running_loop().call_later(_POLL, self._poll)
        else:
            self._has_ended()

    def _has_ended(self) -> None:
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # before it is reaped: until then nobody else can have this number
        self._process.wait()
        self.ended.set()
        if self._writing is not None:
            self._writing.close()

    async def _open_pipes(self) -> None:
        loop = asyncio.get_running_loop()
        reader = self._reader = asyncio.StreamReader(limit=LONGEST_LINE)
        reading, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self._process.stdout)
        writing, self._writing = await loop.connect_write_pipe(_Writing, self._process.stdin)
        self._pipes = [writing, reading]

    def close(self) -> None:
        """Let go of the pipes."""
        for pipe in self._pipes:
            pipe.close()


class _Writing(asyncio.BaseProtocol):
    """The writing end: one line at a time, and none while the reader is behind."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._may_write = asyncio.Event()
        self._broken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._may_write.set()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._broken = True
        self._may_write.set()

    async def write(self, line: bytes) -> None:
        while not self._may_write.is_set():
            await self._may_write.wait()
        if self._broken or self._transport is None or self._transport.is_closing():
            raise BrokenPipeError
        self._transport.write(line)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()  # once it has taken what was written


def _spawn(launch: Launch, *, piped: bool) -> subprocess.Popen[bytes]:
    program, account = launch.argv[0], launch.account
    if account is not None and account.uid == os.geteuid():
        account = None  # it is that user already; only root may set groups
    try:
        return subprocess.Popen(
            launch.argv, stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else 2, cwd=launch.cwd, env=dict(launch.env),
            process_group=0, close_fds=True, bufsize=0, user=account.uid if account else None,
            group=account.gid if account else None, extra_groups=account.groups if account else None)
    except FileNotFoundError as error:
        raise _missing(program, launch.cwd, error) from None
    except PermissionError as error:
        raise ArintError(f"it may not be executed: {error.strerror}", where=program, remedy=_may_not(launch)) from None
    except OSError as error:
        raise ArintError(f"it cannot be executed: {error.strerror}", where=program,
                         remedy="a script begins with its interpreter, such as #!/usr/bin/perl, and ends its lines "
                                "with a line feed alone") from None


def _missing(program: str, cwd: Path, error: FileNotFoundError) -> ArintError:
    """No such program; or its first line names an interpreter that is not there."""
    file = cwd / program
    if not cwd.is_dir():
        return NotFoundError("the folder of its code is not there", where=str(cwd), remedy="apply the service again")
    if "/" in program and file.is_file():
        first = file.open("rb").readline(256).decode(errors="replace").strip()
        return NotFoundError(f"its interpreter is not on this node: {first}", where=program,
                             remedy="install it, or name another one in the first line")
    return NotFoundError(f"there is no program {error.filename or program}", where=program,
                         remedy="install it on this node, or ship it: command: [./PROGRAM]")


def _may_not(launch: Launch) -> str:
    if launch.account is None:
        return "chmod +x, and look whether its folder is mounted noexec"
    return f"the user {launch.account.name} must be able to read and execute it, and to enter every folder above it"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"

