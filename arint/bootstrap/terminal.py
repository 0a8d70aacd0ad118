"""Commands of a person on other machines: one on many at once, their lines told apart; or a shell on one."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from arint.bootstrap.ssh import SIGNALLED, Remote
from arint.errors import TimedOutError, UsageError

if TYPE_CHECKING:
    from paramiko import Channel

_PART = 2**15
_LONGEST_LINE = 2**16
_ENDING = 5.0
"""Seconds from the end of the output to the exit code."""
Line = Callable[[str, bool], None]
"""A line, and whether it came on stderr."""


def stream(remote: Remote, words: Sequence[str], line: Line, *, root: bool, timeout: float) -> int:
    """Run a command, and tell each line as it comes; its exit code. Raises UnreachableError, TimedOutError."""
    import time

    channel = remote.begin(words, root=root, timeout=timeout)
    rests = {False: b"", True: b""}
    deadline = time.monotonic() + timeout
    try:
        while True:
            ended = channel.exit_status_ready()  # before reading: what comes later is read in the next round
            for error in (False, True):
                rests[error] = _told(rests[error] + _ready(channel, error=error), line, error)
            if ended and not channel.recv_ready() and not channel.recv_stderr_ready():
                break
            if time.monotonic() > deadline:
                raise TimedOutError(f"`{words[0]}` did not end within {timeout:g} seconds", where=remote.host.node)
            if not ended:
                select.select([channel], [], [], 0.1)
                channel.status_event.wait(0.01)
                remote.transport  # noqa: B018 - raises where the connection broke
        for error, rest in rests.items():
            if rest:
                line(rest.decode(errors="replace"), error)
        return remote.code_of(channel, _ENDING)
    finally:
        channel.close()


def _ready(channel: Channel, *, error: bool) -> bytes:
    if error:
        return channel.recv_stderr(_PART) if channel.recv_stderr_ready() else b""
    return channel.recv(_PART) if channel.recv_ready() else b""


def _told(data: bytes, line: Line, error: bool) -> bytes:
    """Tell every whole line; what is left."""
    *lines, rest = data.split(b"\n")
    for one in lines:
        line(one.decode(errors="replace"), error)
    if len(rest) > _LONGEST_LINE:
        line(rest.decode(errors="replace"), error)
        return b""
    return rest


def shell(remote: Remote) -> int:
    """A shell with this terminal, until it ends; its exit code.

    Raises UsageError without a terminal, UnreachableError where the connection broke.
    """
    if not sys.stdin.isatty():
        raise UsageError("a shell needs a terminal", remedy="arintctl node exec runs a command without one")
    columns, lines = shutil.get_terminal_size()
    channel = remote.transport.open_session(timeout=15)
    channel.get_pty(os.environ.get("TERM", "xterm"), columns, lines)
    channel.invoke_shell()
    try:
        with _raw(), _resizing(channel), suppress(OSError):  # what broke is told by code_of
            _pass_on(channel)
        return remote.code_of(channel, _ENDING)
    except TimeoutError:
        return SIGNALLED
    finally:
        with suppress(Exception):
            channel.close()


def _pass_on(channel: Channel) -> None:
    given, out = sys.stdin.fileno(), sys.stdout.fileno()
    watched: list[Any] = [channel, given]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if channel in ready:
            data = channel.recv(_PART)
            if not data:
                return
            os.write(out, data)
        if given in ready:
            typed = os.read(given, _PART)
            if typed:
                channel.sendall(typed)
            else:
                watched.remove(given)
                channel.shutdown_write()


@contextmanager
def _raw() -> Iterator[None]:
    """Each key goes there as it is typed."""
    given = sys.stdin.fileno()
    before = termios.tcgetattr(given)
    try:
        tty.setraw(given)
        yield
    finally:
        termios.tcsetattr(given, termios.TCSADRAIN, before)


@contextmanager
def _resizing(channel: Channel) -> Iterator[None]:
    """The other side is told when the window changes."""

    def resized(*_: object) -> None:
        columns, lines = shutil.get_terminal_size()
        with suppress(Exception):
            channel.resize_pty(columns, lines)

    before = signal.signal(signal.SIGWINCH, resized)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
