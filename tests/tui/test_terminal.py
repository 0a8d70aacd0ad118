"""The console as its user starts it: the real program on a real (pseudo) terminal, beside an agent's socket."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec
import pexpect
import pytest

from arint.home import Home, NodeConfig
from arint.ports import Ports
from tests.patience import PATIENCE
from tests.tui.samples import status

ROOT = Path(__file__).parents[2]
COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[;m]")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make_folders()
    home.save(NodeConfig(version="0.1.0", cluster="local", node="box-1", ports=Ports(), created=0.0))
    return home


@asynccontextmanager
async def agent(home: Home) -> AsyncIterator[None]:
    """Tells a further second of the sample at each question."""
    talks: set[asyncio.Task[None]] = set()
    seconds = itertools.count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await reader.readline()
            writer.write(msgspec.json.encode(status(next(seconds))) + b"\n")
            await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, home.socket)
    try:
        yield
    finally:
        server.close()
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        home.socket.unlink(missing_ok=True)


@contextmanager
def running_agent(home: Home) -> Iterator[None]:
    """The agent, in a thread of its own: pexpect blocks."""
    loop, up = asyncio.new_event_loop(), threading.Event()
    stop = asyncio.Event()

    async def live() -> None:
        async with agent(home):
            up.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(live()))
    thread.start()
    try:
        assert up.wait(10)
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@contextmanager
def console(home: Home, word: str = "console", **environment: str) -> Iterator[pexpect.spawn]:
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "ARINT_HOME")}
    child = pexpect.spawn(sys.executable, ["-m", "arintctl", word, "--home", str(home.path)], cwd=str(ROOT),
                          env={**kept, "TERM": "xterm-256color", "COLORTERM": "truecolor", **environment},
                          dimensions=(24, 80), timeout=20)
    try:
        yield child
    finally:
        child.close(force=True)


def leave(child: pexpect.spawn, how: Callable[[], object]) -> bytes:
    """Make it leave; all that it wrote since the last expectation."""
    how()
    child.expect(pexpect.EOF)
    child.wait()
    return bytes(child.before)


def modes(child: pexpect.spawn) -> list[object]:
    return termios.tcgetattr(child.child_fd)[:4]


def assert_terminal_is_as_before(said: bytes) -> None:
    for code in (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1000l", b"\x1b[?2004l"):
        assert code in said, code


@pytest.mark.parametrize("word", ["console", "tui"])
def test_it_opens_shows_and_quits(home: Home, word: str) -> None:
    with running_agent(home), console(home, word) as child:
        before = modes(child)
        child.expect_exact("report-1")
        assert modes(child) != before
        said = leave(child, lambda: child.send("q"))
        assert child.exitstatus == 0
        assert_terminal_is_as_before(said)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_as_quitting_does(home: Home, number: signal.Signals) -> None:
    with running_agent(home), console(home) as child:
        child.expect_exact("report-1")
        said = leave(child, lambda: child.kill(number))
        assert child.exitstatus == 0, (child.exitstatus, child.signalstatus, said[-500:])
        assert_terminal_is_as_before(said)


def test_it_ends_when_its_terminal_is_closed(home: Home) -> None:
    with running_agent(home), console(home) as child:
        child.expect_exact("report-1")
        child.ptyproc.fileobj.close()
        deadline = time.monotonic() + PATIENCE
        while child.isalive():
            assert time.monotonic() < deadline
        assert child.exitstatus in (0, 129) or child.signalstatus == signal.SIGHUP


def test_it_outlives_its_agent(home: Home) -> None:
    with console(home) as child:
        child.expect_exact("No data yet")
        with running_agent(home):
            child.expect_exact("report-1")
        child.expect_exact("STALE")
        with running_agent(home):
            child.expect_exact("live")
            leave(child, lambda: child.send("q"))
            assert child.exitstatus == 0


def test_no_color_means_none(home: Home) -> None:
    with running_agent(home), console(home) as child:
        child.expect_exact("report-1")
        assert COLOUR.search(child.before)
    with running_agent(home), console(home, NO_COLOR="1") as child:
        child.expect_exact("report-1")
        said = child.before + leave(child, lambda: child.send("q"))
        assert not COLOUR.search(said), COLOUR.search(said)


def test_without_a_terminal_it_says_what_to_do(home: Home) -> None:
    done = subprocess.run([sys.executable, "-m", "arintctl", "console", "--home", str(home.path)], cwd=ROOT,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "arintctl: usage: the console needs a terminal (without one: arintctl overview)\n"


def test_without_a_home_it_says_what_to_do(tmp_path: Path) -> None:
    for words in (["-m", "arintctl", "console"], ["-m", "tui"]):
        done = subprocess.run([sys.executable, *words, "--home", str(tmp_path)], cwd=ROOT, capture_output=True,
                              text=True, timeout=30, check=False)
        assert done.returncode == 3
        assert "no node was set up here (run: arintctl up)" in done.stderr


def test_overview_prints_the_same_for_programs(home: Home) -> None:
    def overview(*words: str) -> str:
        return subprocess.run([sys.executable, "-m", "arintctl", "overview", "--home", str(home.path), *words],
                              cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout

    with running_agent(home):
        found = msgspec.json.decode(overview("-o", "json"))
        assert found["cluster"] == "local"
        assert {service["service"]: service["state"] for service in found["services"]}["report"] == "failed"
        table = overview()
        assert "system/runner" in table
        assert "ModuleNotFoundError" in table
        assert "report" in overview("-o", "name").split()
