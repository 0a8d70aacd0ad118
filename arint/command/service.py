"""A service that is a program: kept running, given messages, started anew when it ends or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import msgspec

from arint import environment
from arint.accounts import account, reachable
from arint.command.child import Launch
from arint.command.http import HttpProgram
from arint.command.ndjson import NdjsonProgram
from arint.engines.process import Backoff
from arint.errors import ArintError
from arint.flows.state import Reply
from arint.home import SOCKET_PATH_LIMIT
from arint.message import Message
from arint.resources.kinds import Service
from arint.sdk import Context

log = logging.getLogger(__name__)

START_WITHIN = 30.0
"""Seconds from a program's start to its readiness."""
LAST_WORDS = 3.0
"""Seconds that a program has at least to end by itself when its worker leaves."""
TROUBLED_AFTER = 3
"""Ends in a row after which the instance counts as failed, until the program serves again."""
Running = NdjsonProgram | HttpProgram


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """Where the program runs: its code in `folder`; `sockets` is a folder for its socket; `known` of its environment.

    `folder` is its working directory. `variables` and `secrets` are those that `env` may name.
    """

    folder: Path
    sockets: Path
    instance: str
    variables: Mapping[str, str] = {}
    secrets: Mapping[str, bytes] = {}
    config: Mapping[str, Any] = {}
    known: Mapping[str, str] = {}


class CommandService:
    """Takes the place of a callable (`arint.sdk.Handler`). `on_change` is called when `trouble` changes.

    Use: `start()`, then `await ready()` and `handle()` for each message; `stop()` at the end.
    """

    is_async = True
    takes_stream = False

    def __init__(self, service: Service, setting: Setting, on_change: Callable[[], None] = lambda: None) -> None:
        self.trouble = ""
        """Why it does not serve, when that has lasted."""
        self.ends = 0
        self.last_end = ""
        """Why it last had to be started anew."""
        self._service = service
        self._setting = setting
        self._on_change = on_change
        self._backoff = Backoff(first=0.1, most=5.0)
        self._program: Running | None = None
        self._serving = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    @property
    def concurrency(self) -> int:
        """Messages that it takes at once, by its own word and by the resource's."""
        own = self._program.concurrency if self._program is not None else 1
        return min(own, self._service.concurrency)

    async def start(self) -> None:
        """Start the program; returns when it serves. Raises ArintError that says why it does not."""
        self._serve(await self._started())
        self._keeping = asyncio.create_task(self._keep_running(), name=f"program {self._service.name}")

    async def ready(self) -> None:
        """Wait until it serves: while it does not, messages wait, and use no attempt."""
        while True:
            if self._program is not None and self._program.lost.is_set():
                self._serving.clear()
            if self._serving.is_set():
                return
            await self._serving.wait()

    async def handle(self, message: Message, context: Context, executor: Executor | None = None, *,
                     body: AsyncIterator[bytes] | None = None, streaming: bool = False) -> Reply:
        """Let it process a message. Raises what it says, or ProgramError if it ended before it had answered.

        It takes and gives bodies in one piece: `body` and `streaming` mean nothing here.
        """
        await self.ready()
        assert self._program is not None
        return await self._program.call(message, context)

    def timed_out(self) -> None:
        """A message was given up. When half of what it may take at once hangs, only a new process helps."""
        program = self._program
        if program is not None and program.hung * 2 >= self.concurrency:
            program.lose(f"the program held {program.hung} messages for longer than their time")

    def configure(self, service: Service, setting: Setting) -> None:
        """From now on so; an environment or configuration that changed is a new process's."""
        before, self._setting, self._service = self._setting, setting, service
        if (before.secrets, before.variables, before.config) != (setting.secrets, setting.variables, setting.config) \
                and self._program is not None and self._keeping is not None:
            log.info("what the program was given has changed: it is started anew")
            self._keeping.cancel()
            self._keeping = asyncio.create_task(self._replace(self._program), name=f"program {service.name}")

    async def stop(self, grace: float) -> None:
        """Let it end by itself; after `grace` seconds (a few at least) by force."""
        self._serving.clear()
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        if self._program is not None:
            await self._program.stop(max(grace, LAST_WORDS))

    def _serve(self, program: Running) -> None:
        self._program = program
        self._serving.set()

    async def _replace(self, old: Running) -> None:
        self._serving.clear()
        await old.stop(LAST_WORDS)
        await self._start_again(0)
        await self._keep_running()

    async def _keep_running(self) -> None:
        """Start it anew whenever it is gone."""
        failures = 0
        while self._program is not None:
            since, program = time.monotonic(), self._program
            await program.lost.wait()
            self._serving.clear()
            self.ends += 1
            self.last_end = program.why
            log.error("%s: it is started anew", program.why)
            self._on_change()
            await program.end()
            failures = self._backoff.failures_after(failures, time.monotonic() - since)
            failures = await self._start_again(failures, program.why)

    async def _start_again(self, failures: int, why: str = "") -> int:
        """Try until it serves; the failures in a row by then."""
        while True:
            self._set_trouble(f"{why} ({failures} times in a row)" if failures >= TROUBLED_AFTER else self.trouble)
            if failures:
                await asyncio.sleep(self._backoff.delay(failures))
            try:
                self._serve(await self._started())
            except ArintError as error:
                failures, why = failures + 1, str(error)
                log.error("the program does not serve: %s", error)  # noqa: TRY400 - in its own words
            else:
                self._set_trouble("")
                return failures

    def _set_trouble(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._on_change()

    async def _started(self) -> Running:
        service, setting = self._service, self._setting
        launch = await asyncio.to_thread(_launch, service, setting)
        if service.framing == "http":
            socket = await asyncio.to_thread(_socket, setting, launch)
            return await HttpProgram.start(launch, service=service.name, socket=socket,
                                           concurrency=service.concurrency, within=START_WITHIN)
        return await NdjsonProgram.start(launch, service=service.name, instance=setting.instance,
                                         config=setting.config, within=START_WITHIN)


def _launch(service: Service, setting: Setting) -> Launch:
    """Raises ArintError for a user, a value or a folder that cannot be had."""
    env = {**environment.clean(os.environ), "ARINT_SERVICE": service.name, "ARINT_INSTANCE": setting.instance,
           **setting.known}
    wanted = account(service.user, where=f"service/{service.name}") if service.user else None
    if wanted is not None:
        env |= wanted.environment
        reachable(wanted, setting.folder, where=f"service/{service.name}")
    env |= environment.declared(service.env, setting.variables, setting.secrets, f"service/{service.name}")
    return Launch(argv=tuple(service.command), cwd=setting.folder, env=env, account=wanted)


def _socket(setting: Setting, launch: Launch) -> Path:
    """A place for its socket that is the program's alone."""
    folder = setting.sockets / setting.instance
    if len(os.fsencode(folder)) + 3 > SOCKET_PATH_LIMIT:
        raise ArintError("the path of its socket is too long", where=str(folder),
                         remedy="keep the home in a folder with a shorter path, or use framing: ndjson")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    if launch.account is not None:
        with contextlib.suppress(PermissionError):  # only root can, and only root needs to
            os.chown(folder, launch.account.uid, launch.account.gid)
    return folder / "s"
