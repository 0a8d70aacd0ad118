"""One run of a program: without a shell, given its input, read within bounds, ended with all that it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

_CHUNK = 64 * 1024
_ERRORS_KEPT = 4000
_LEFT_OPEN = 1.0
"""Seconds for which the output of a program that has ended is read on, where something still holds it open."""


class Ended(NamedTuple):
    """How it ended: a negative code is a signal; `errors` is the end of what it wrote to stderr."""

    code: int
    output: bytes
    errors: str
    too_much: bool = False


async def run(argv: Sequence[str], *, stdin: bytes | None, environment: Mapping[str, str], folder: str,
              most_output: int, memory: int) -> Ended:
    """Run it to its end. When this is cancelled, the program is killed first.

    Raises OSError where it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *_bounded(memory), *argv, cwd=folder, env=dict(environment), start_new_session=True,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_feed(process, stdin))
            output = tasks.create_task(_read(process, most_output))
            errors = tasks.create_task(_last(process))
            tasks.create_task(_end_with_it(process, output, errors))
        code = await process.wait()
    finally:
        _kill(process)
        _close(process)  # nobody reads any more, and its end is told only when its pipes have ended
        await process.wait()
    printed, too_much = output.result()
    return Ended(code, printed, errors.result(), too_much)


@cache
def _bounded(memory: int) -> tuple[str, ...]:
    """util-linux's tools, where they are: a bound on memory, and an end when the worker that started it dies."""
    tools: list[str] = []
    if prlimit := shutil.which("prlimit"):
        tools += [prlimit, f"--as={memory}", "--core=0", "--"]
    if setpriv := shutil.which("setpriv"):
        tools += [setpriv, "--pdeathsig", "KILL", "--"]
    return tuple(tools)


async def _end_with_it(process: asyncio.subprocess.Process, *reading: asyncio.Task[Any]) -> None:
    """Kill what it left behind as soon as it ends: that would hold its output open, and outlive it.

    What left its process group lives on, and is not waited for.
    """
    await _has_ended(process)
    _kill(process)
    await asyncio.wait(reading, timeout=_LEFT_OPEN)
    _close(process)


async def _has_ended(process: asyncio.subprocess.Process) -> None:
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:  # and was waited for already
        return
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _feed(process: asyncio.subprocess.Process, data: bytes | None) -> None:
    if process.stdin is None or data is None:
        return
    with contextlib.suppress(ConnectionError):  # it need not read what it is given
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()
    with contextlib.suppress(ConnectionError):
        await process.stdin.wait_closed()


async def _read(process: asyncio.subprocess.Process, most: int) -> tuple[bytes, bool]:
    """The first `most` octets of its output, and whether there was more.

    What came before it was killed is read too, and dropped: asyncio tells of a process's end only when its pipes end.
    """
    assert process.stdout is not None
    read, too_much = bytearray(), False
    while chunk := await process.stdout.read(_CHUNK):
        read += chunk
        if len(read) > most:
            too_much = True
            del read[most:]
            _kill(process)
    return bytes(read), too_much


async def _last(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    kept = b""
    while chunk := await process.stderr.read(_CHUNK):
        kept = (kept + chunk)[-_ERRORS_KEPT:]
    return kept.decode("utf-8", "replace").strip()


def _close(process: asyncio.subprocess.Process) -> None:
    """Let go of its pipes: whoever reads has come to the end."""
    transport: asyncio.SubprocessTransport = process._transport  # type: ignore[attr-defined]
    for descriptor in (0, 1, 2):
        if (pipe := transport.get_pipe_transport(descriptor)) is not None:
            pipe.close()


def _kill(process: asyncio.subprocess.Process) -> None:
    """It, and all that it started and that did not leave its process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
