"""What an instance needs before it can start: its code and its packages on this node. What is missing is brought.

Helpers do it (`nodeagent.helper`), so that the agent's memory does not grow. A failure is shown, and tried again, later
each time, for as long as an instance that needs it is assigned here.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from arint.errors import ArintError, NotFoundError, UnreachableError
from arint.home import Home
from arint.resources.kinds import Service
from arint.resources.requirements import set_digest
from nodeagent import helper
from nodeagent.bell import Bell

log = logging.getLogger(__name__)

AT_ONCE = 2
"""Helpers that bring something at the same time."""
TRY_AGAIN = (5.0, 10.0, 20.0, 40.0, 60.0)
"""Seconds until the next try; the last is for all further ones."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Waiting(Exception):
    """It is on its way; the text says what is waited for."""


class _Errand:
    """Something that is brought: under way, or failed and to be tried again."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task
        self.failures = 0
        self.error: Exception | None = None
        self.again: asyncio.TimerHandle | None = None

    def end(self) -> None:
        self.task.cancel()
        if self.again is not None:
            self.again.cancel()


class Supplies:
    """Code and packages of services, in the home's folders; whoever waits is told by the bell."""

    def __init__(self, home: Home, bell: Bell) -> None:
        self._home = home
        self._bell = bell
        self._errands: dict[str, _Errand] = {}
        self._asked: set[str] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)

    def of(self, service: Service) -> tuple[str, str]:
        """The folders of the service's code and of its packages ("" where it requires none).

        Raises Waiting while they are brought; ArintError where that failed, NotFoundError where it has no code.
        """
        code, packages = self._code(service), self._packages(service)
        missing = [one for one in (code, packages) if isinstance(one, ArintError | Waiting)]
        for one in sorted(missing, key=lambda one: isinstance(one, Waiting)):
            raise one
        return str(code), str(packages)

    def settle(self) -> None:
        """Nothing but what was asked for since the last time is brought any longer."""
        for key in self._errands.keys() - self._asked:
            self._errands.pop(key).end()
        self._asked.clear()

    async def close(self) -> None:
        """Stop what is under way."""
        tasks = [errand.task for errand in self._errands.values()]
        for errand in self._errands.values():
            errand.end()
        self._errands.clear()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _code(self, service: Service) -> Path | ArintError | Waiting:
        digest, home = service.code, self._home
        if not _DIGEST.fullmatch(digest):
            return NotFoundError(f"service/{service.name} has no code", remedy="apply the service again")
        folder = home.artifact(digest)
        return self._brought(folder, "fetch", f"the code of service/{service.name}",
                             lambda: helper.run("nodeagent.fetching", str(home.path), digest))

    def _packages(self, service: Service) -> Path | str | ArintError | Waiting:
        if not service.locked.packages:
            return ""
        home, locked = self._home, msgspec.json.encode(service.locked)
        folder = home.requirement_set(set_digest(service.locked))
        return self._brought(folder, "install", f"what service/{service.name} requires",
                             lambda: helper.run("nodeagent.installing", str(home.path), data=locked))

    def _brought(self, folder: Path, verb: str, what: str,
                 bring: Callable[[], Awaitable[object]]) -> Path | ArintError | Waiting:
        """The folder if it is there, else how it stands with it; what is not under way is begun."""
        key = str(folder)
        if folder.is_dir():
            self._asked.discard(key)
            return folder
        self._asked.add(key)
        errand = self._errands.get(key)
        if errand is None:
            log.info("%sing %s", verb, what)
            self._errands[key] = errand = _Errand(self._begin(key, bring))
        elif errand.task.done() and errand.again is None:
            errand.task = self._begin(key, bring)
        error = errand.error
        if error is None:
            return Waiting(f"{verb}ing {what}")
        if isinstance(error, UnreachableError):
            return Waiting(f"cannot {verb} {what}: {error}; it is tried again")
        return ArintError(f"cannot {verb} {what}: {error}")

    def _begin(self, key: str, bring: Callable[[], Awaitable[object]]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._bring(bring), name=f"bring {key}")
        task.add_done_callback(lambda ended: self._ended(key, ended))
        return task

    async def _bring(self, bring: Callable[[], Awaitable[object]]) -> None:
        async with self._slots:
            await bring()

    def _ended(self, key: str, task: asyncio.Task[None]) -> None:
        errand = self._errands.get(key)
        if task.cancelled() or errand is None or errand.task is not task:
            return
        error = task.exception()
        if error is None:
            del self._errands[key]
        elif isinstance(error, Exception):
            errand.error = error
            delay = TRY_AGAIN[min(errand.failures, len(TRY_AGAIN) - 1)]
            errand.failures += 1
            errand.again = asyncio.get_running_loop().call_later(delay, self._try_again, errand)
            log.warning("%s: %s; tried again in %g s", Path(key).name[:12], error, delay)
        self._bell.ring()

    def _try_again(self, errand: _Errand) -> None:
        errand.again = None
        self._bell.ring()
