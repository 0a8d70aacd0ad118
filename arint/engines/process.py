"""One supervised program: started detached, recorded, adopted after the agent's crash, stopped within a deadline.

A process outlives the agent on purpose (no PDEATHSIG, a session of its own, output straight to a file): a crashed or
updated agent comes back, reads the pid files and takes its processes over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from arint.engines.procfs import boot_id, memory_bytes, session_leaders_with, start_time
from arint.errors import ArintError, NotFoundError
from arint.home import Home, write_private

if TYPE_CHECKING:
    from arint.limits.fence import Fence

MARK = "ARINT_PROCESS"
"""In the environment of every process: by it one is found whose pid file was never written."""
_POLL = 0.1


class Record(msgspec.Struct, frozen=True):
    """The pid file: enough to know the process again, and no other that got its pid."""

    pid: int
    start: int
    """Clock ticks since boot, from /proc/PID/stat."""
    boot: str
    spec: str
    """A digest of what was started: another one means that the program is to be restarted."""
    started: float
    """Seconds since the epoch."""

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return self.boot == boot_id() and start_time(self.pid) == self.start


class Process:
    """The process `name` of `home`: `argv`, with `env` added to the agent's own environment.

    `inherit` says what of the agent's own that is; everything by default. With a `fence`, the process and all that it
    starts are held to its limits, and end together; `ended_by` is what the fence told of the last end.
    `prepare` is called before each start (to write a configuration file), not before an adoption.
    It is used from one event loop. `exit_code` is the last one known: negative for a signal, None for a process that
    was adopted (only a parent is told).
    """

    def __init__(self, home: Home, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None,
                 cwd: Path | None = None, prepare: Callable[[], None] | None = None,
                 inherit: Callable[[Mapping[str, str]], Mapping[str, str]] = dict, fence: Fence | None = None) -> None:
        self.name = name
        self.argv = tuple(argv)
        self.fence = fence
        self.exit_code: int | None = None
        self.ended_by = ""
        self.log_file = home.log_file(name)
        self._env = dict(env or {})
        self._cwd = cwd or home.path
        self._prepare = prepare
        self._inherit = inherit
        self._file = home.pid_file(name)
        self._mark = str(self._file)
        self._record: Record | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._pidfd: int | None = None
        self._ended = asyncio.Event()
        self._ended.set()

    @property
    def running(self) -> bool:
        """Whether it runs now, as far as is known without asking the kernel."""
        return not self._ended.is_set()

    @property
    def pid(self) -> int | None:
        """Its pid while it runs."""
        return self._record.pid if self._record is not None and self.running else None

    @property
    def started(self) -> float | None:
        """When it started, in seconds since the epoch, while it runs."""
        return self._record.started if self._record is not None and self.running else None

    @property
    def outdated(self) -> bool:
        """Whether what runs was adopted and was started with another command or environment than this one's."""
        return self._record is not None and self.running and self._record.spec != self._spec()

    @property
    def memory(self) -> int:
        """Its resident memory in bytes; 0 if it does not run."""
        return memory_bytes(self.pid) if self.pid is not None else 0

    def adopt(self) -> bool:
        """Take over the process that an earlier agent left running; False if there is none."""
        if self.running:
            return True
        record = self._find_recorded() or self._find_stray()
        if record is None:
            self._file.unlink(missing_ok=True)
            return False
        if self.fence is not None:
            try:
                self.fence.enter(record.pid)
            except ArintError as error:
                self.note(f"it goes on without its limits: {error}")
        self._watch(record, None)
        return self.running

    def start(self) -> None:
        """Start it, unless an earlier one can be adopted; returns as soon as the program was executed.

        Raises NotFoundError if there is no such program, ArintError if the system refuses.
        """
        if self.adopt():
            return
        if self._prepare is not None:
            self._prepare()
        log = os.open(self.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Popen uses vfork and no Python between fork and exec, so it is safe beside gRPC's threads.
            child = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._cwd,
                env={**self._inherit(os.environ), **self._env, MARK: self._mark}, start_new_session=True,
                close_fds=True)
            self._enclose(child)
        except FileNotFoundError as error:
            raise NotFoundError(f"the program {error.filename} was not found", where=self.name) from error
        except OSError as error:
            raise ArintError(f"the program did not start: {error.strerror}", where=f"{self.name}: {self.argv[0]}") \
                from error
        finally:
            os.close(log)
        record = Record(child.pid, start_time(child.pid) or 0, boot_id(), self._spec(), time.time())
        write_private(self._file, msgspec.json.encode(record))
        self.exit_code = None
        self.ended_by = ""
        self._watch(record, child)

    def _enclose(self, child: subprocess.Popen[bytes]) -> None:
        """Before it has run a line of its own: it is still loading its interpreter."""
        try:
            if self.fence is not None:
                self.fence.enter(child.pid)
        except BaseException:
            child.kill()
            child.wait()
            raise

    async def wait(self) -> int | None:
        """Wait for its end; returns the exit code, None where it was adopted."""
        await self._ended.wait()
        return self.exit_code

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it; nothing happens if it is gone."""
        if self._record is None or not self.running:
            return
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, number)
            elif self._record.alive:
                os.kill(self._record.pid, number)

    async def stop(self, grace: float = 10.0, *, first: signal.Signals = signal.SIGTERM) -> bool:
        """Ask it to stop with the signal `first`; after `grace` seconds kill it and its process group.

        Returns whether it stopped by itself. A cancelled stop leaves the process as it is.
        """
        self.send(first)
        try:
            async with asyncio.timeout(grace):
                await self._ended.wait()
        except TimeoutError:
            self.kill()
            await self._ended.wait()
            return False
        return True

    def kill(self) -> None:
        """Kill it and its process group at once."""
        if self._record is not None and self.running:
            self._kill_group(self._record.pid)
            self.send(signal.SIGKILL)
            if self.fence is not None:
                self.fence.kill()

    def release(self) -> None:
        """Stop watching, and leave it running for the next agent."""
        self._unwatch()

    def note(self, text: str) -> None:
        """Write a line of the agent's where the program's own lines are."""
        _note(self.log_file, text)

    def log_tail(self, limit: int = 4096) -> str:
        """The last lines that it printed, `limit` bytes at most."""
        try:
            with self.log_file.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
                return file.read(limit).decode(errors="replace")
        except OSError:
            return ""

    def _spec(self) -> str:
        content = msgspec.json.encode((self.argv, sorted(self._env.items())))
        return sha256(content).hexdigest()[:16]

    def _find_recorded(self) -> Record | None:
        try:
            record = msgspec.json.decode(self._file.read_bytes(), type=Record)
        except (OSError, msgspec.MsgspecError):
            return None
        return record if record.alive else None

    def _find_stray(self) -> Record | None:
        """An agent that was killed between start and record leaves a process without a pid file."""
        for pid in session_leaders_with(f"{MARK}={self._mark}".encode()):
            start = start_time(pid)
            if start is not None:
                record = Record(pid, start, boot_id(), "", time.time())
                write_private(self._file, msgspec.json.encode(record))
                return record
        return None

    def _watch(self, record: Record, child: subprocess.Popen[bytes] | None) -> None:
        self._unwatch()
        self._record, self._child = record, child
        self._ended.clear()
        loop = asyncio.get_running_loop()
        try:
            self._pidfd = os.pidfd_open(record.pid)
        except ProcessLookupError:  # gone in between
            self._forget()
        except OSError:  # an old kernel or a strict sandbox: ask now and then
            loop.call_later(_POLL, self._poll, record)
        else:
            if child is None and not record.alive:  # the pid changed hands before the pidfd was open
                self._forget()
            else:
                loop.add_reader(self._pidfd, self._end)

    def _poll(self, record: Record) -> None:
        if record is not self._record or not self.running:
            return
        if record.alive:
            asyncio.get_running_loop().call_later(_POLL, self._poll, record)
        else:
            self._end()

    def _end(self) -> None:
        """The process is gone: kill what it left in its group, then reap it."""
        if self._record is not None:
            self._kill_group(self._record.pid)  # before reaping: until then nobody else can have this pid
            if self.fence is not None:
                self.ended_by = self.fence.left()
        self._forget()

    def _forget(self) -> None:
        self.exit_code = self._child.wait() if self._child is not None else None
        self._file.unlink(missing_ok=True)
        self._unwatch()

    def _unwatch(self) -> None:
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
        self._pidfd = self._child = self._record = None
        self._ended.set()

    @staticmethod
    def _kill_group(pid: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


class Backoff(msgspec.Struct, frozen=True):
    """How long to wait before the next start: doubling from `first` to `most` seconds.

    A process that lived `healthy_after` seconds is forgiven its earlier failures.
    """

    first: float = 0.25
    most: float = 30.0
    healthy_after: float = 10.0

    def delay(self, failures: int) -> float:
        """The wait after so many failures in a row (1, 2, …)."""
        return min(self.most, self.first * 2.0 ** min(failures - 1, 30))

    def failures_after(self, failures: int, lived: float) -> int:
        """The failures in a row, after one more end of a process that lived so many seconds."""
        return 1 if lived >= self.healthy_after else failures + 1


async def keep_running(process: Process, *, backoff: Backoff | None = None,
                       on_started: Callable[[], None] | None = None,
                       on_ended: Callable[[int | None, float], None] | None = None) -> None:
    """Start or adopt `process`, and start it again whenever it ends, until cancelled; it is left running then.

    `on_started` is called at each start and adoption; `on_ended` with the exit code and the wait before the next start.
    A start that fails (a missing program) counts as an end.
    """
    backoff = backoff or Backoff()
    failures = 0
    while True:
        begun = time.monotonic()
        try:
            process.start()
        except ArintError as error:
            _note(process.log_file, str(error))
        else:
            if on_started is not None:
                on_started()
            await process.wait()
        failures = backoff.failures_after(failures, time.monotonic() - begun)
        delay = backoff.delay(failures)
        if on_ended is not None:
            on_ended(process.exit_code, delay)
        await asyncio.sleep(delay)


def _note(log_file: Path, text: str) -> None:
    """Why there is no process stands where its output would."""
    with contextlib.suppress(OSError), log_file.open("a") as file:
        file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} agent: {text}\n")
