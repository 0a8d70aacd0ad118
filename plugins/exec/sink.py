"""The OUT side of programs: each delivery is a run of the connection's program."""

from __future__ import annotations

import asyncio
import os
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from arint.errors import MessageError, NotFoundError, RejectedError, SystemUnavailableError
from arint.flows.expressions import Template
from arint.flows.state import State
from arint.message import Message
from arint.plugins import Delivery, SinkContext
from arint.resources.quantities import octets, seconds
from plugins.exec.program import Ended, run
from plugins.exec.specs import ExecConnection, ExecOptions

PATH = "/usr/local/bin:/usr/bin:/bin"
_TOLD = 500
_NOT_STARTED = frozenset({126, 127})
"""What the tools around a program leave with when they cannot run it, such as for an interpreter that is missing."""
_EFFECTS: Any = None


class ExecSink:
    """Runs one program, a few at once."""

    def __init__(self, context: SinkContext) -> None:
        self._spec: ExecConnection = context.spec
        self._where = f"connection/{context.name}"
        self._environment = {"PATH": PATH, "LANG": "C.UTF-8", **_environment(self._spec, context, self._where)}
        self._turns = asyncio.Semaphore(self._spec.concurrency)
        self._timeout = seconds(self._spec.timeout)

    async def send(self, delivery: Delivery) -> bytes | None:
        """Run it; what it printed is the answer."""
        options: ExecOptions = delivery.options
        message = delivery.message
        argv = [*self._spec.command, *_arguments(options, message)]
        timeout = min(delivery.timeout, seconds(options.timeout) if options.timeout else self._timeout)
        environment = self._environment | {"ARINT_MESSAGE": message.id, "ARINT_CONTENT_TYPE": message.content_type,
                                           "ARINT_IDEMPOTENCY_KEY": delivery.idempotency_key}
        async with self._turns:
            ended = await self._run(argv, message.body, environment, timeout)
        self._check(ended)
        return ended.output or None

    async def probe(self) -> None:
        """Is the program there?"""
        program = self._spec.command[0]
        if not _is_program(program):
            raise SystemUnavailableError(f"{program} is not there, or may not be run", where=self._where,
                                         remedy="install it on this node")

    async def close(self) -> None:
        """Nothing is held."""

    async def _run(self, argv: list[str], body: bytes, environment: dict[str, str], timeout: float) -> Ended:
        await self.probe()
        with tempfile.TemporaryDirectory(prefix="arint-exec-") as folder:
            try:
                async with asyncio.timeout(timeout):
                    return await run(argv, stdin=body if self._spec.stdin == "body" else None,
                                     environment=environment | {"HOME": folder, "TMPDIR": folder}, folder=folder,
                                     most_output=octets(self._spec.output), memory=octets(self._spec.memory))
            except TimeoutError:
                raise MessageError(f"{argv[0]} did not end within {timeout:g} s, and was killed",
                                   where=self._where) from None
            except OSError as error:
                if error.errno == 7:  # E2BIG: the message's own doing
                    raise RejectedError("the arguments are too long", where=self._where) from None
                raise SystemUnavailableError(f"{argv[0]} cannot be started: {error.strerror}",
                                             where=self._where) from error

    def _check(self, ended: Ended) -> None:
        said = f": {ended.errors[-_TOLD:]}" if ended.errors else ""
        if ended.too_much:
            raise RejectedError(f"it printed more than {self._spec.output}, and was killed", where=self._where)
        if ended.code == 0:
            return
        if ended.code < 0:
            raise MessageError(f"it was ended by signal {-ended.code}{said}", where=self._where)
        if ended.code in _NOT_STARTED:
            raise SystemUnavailableError(f"it cannot be started{said}", where=self._where)
        what = f"it ended with {ended.code}{said}"
        if ended.code in self._spec.reject:
            raise RejectedError(what, where=self._where)
        if ended.code in self._spec.unavailable:
            raise SystemUnavailableError(what, where=self._where)
        raise MessageError(what, where=self._where)


def _arguments(options: ExecOptions, message: Message) -> list[str]:
    state = State(message, "", "", _EFFECTS)
    found = []
    for text in options.args:
        filled = _template(text).fill(state)
        if "\0" in filled:
            raise RejectedError("an argument has a null character")
        if filled.startswith("-") and not text.startswith("-") and not options.dashes:
            raise RejectedError("an argument that the message gives begins with -",
                                remedy="it would be an option; dashes: true allows it")
        found.append(filled)
    return found


def _is_program(path: str) -> bool:
    return os.access(path, os.X_OK) and Path(path).is_file()


@lru_cache(maxsize=1024)
def _template(text: str) -> Template:
    return Template(text)


def _environment(spec: ExecConnection, context: SinkContext, where: str) -> dict[str, str]:
    found = {}
    for name, value in spec.env.items():
        if isinstance(value, str):
            found[name] = value
        elif value.secret in context.secrets:
            found[name] = context.secrets[value.secret].rstrip(b"\r\n").decode("utf-8", "surrogateescape")
        else:
            raise NotFoundError(f"no secret {value.secret}", where=where, remedy="declare it and apply again")
    return found
