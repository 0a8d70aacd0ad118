"""The loop of whoever writes an integration: save, and it is applied; what it prints and does is told as it happens.

Nothing here is of its own: a save is an ordinary apply of what changed, in a change set whose new versions take over as
soon as they are ready. What was applied last stays when the loop ends.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from arint.actions import Action
from arint.artifacts.packing import LEFT_OUT as NO_CODE
from arint.errors import ArintError, ConflictError, NotValidError
from arint.operations.addresses import Address, addresses_of
from arint.operations.configuration import ApplyArguments, apply
from arint.operations.history import applied
from arint.operations.rollout import in_sources, services_in, wait_until_ready
from arint.resources.diff import Change
from arint.resources.kinds import Channel, Flow, Resource, Service, key_of
from arint.resources.manifests import Declared, examine

if TYPE_CHECKING:
    from arint.operations.connect import Link

LEFT_OUT = NO_CODE - {"wheelhouse"}
"""Folders whose files are no part of an integration, beside hidden ones."""
_NOT_SAVED = (".pyc", ".pyo", ".swp", ".swx", ".tmp", ".log", ".db", ".db-journal", ".db-wal", ".db-shm", "~")
"""What programs write while an editor is at work, or while the integration runs."""
_TOGETHER = 15
"""Milliseconds without a further change after which what was saved is taken to be whole."""
_TOGETHER_AT_MOST = 300
_LOOK = 0.02
_MOST_LOGS = 40
_LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ ")
_OWN_WORDS = re.compile(r"drained|orders of change set \d+ cannot be carried out: .*")
"""What a worker says of itself; that it failed, and of what, is told as such."""
_AGAIN = 1.0


class DevArguments(msgspec.Struct, frozen=True, kw_only=True):
    """What to watch. `timeout` in seconds: how long a version may take to come up."""

    folder: Path
    prune: bool = False
    wheelhouse: Path | None = None
    timeout: float = 60.0


class Watching(msgspec.Struct, frozen=True, tag="watching"):
    """The loop has begun."""

    folder: str


class Saved(msgspec.Struct, frozen=True, tag="saved"):
    """Files were written."""

    files: tuple[str, ...]


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Nothing was applied: what is wrong, each with its file and line."""

    problems: tuple[str, ...]


class Changed(msgspec.Struct, frozen=True, tag="changed"):
    """A change set was made. `took` in seconds, since the save."""

    change_set: int
    changes: tuple[Change, ...]
    took: float


class Reachable(msgspec.Struct, frozen=True, tag="reachable"):
    """Where channels are, now that it has changed."""

    addresses: tuple[Address, ...]


class Serving(msgspec.Struct, frozen=True, tag="serving"):
    """All of it runs. `took` in seconds, since the save."""

    change_set: int
    took: float


class Broken(msgspec.Struct, frozen=True, tag="broken"):
    """The new version does not come up; the one before goes on."""

    change_set: int
    error: str


class Printed(msgspec.Struct, frozen=True, tag="printed"):
    """A line that an instance printed."""

    instance: str
    line: str


class Passed(msgspec.Struct, frozen=True, tag="passed"):
    """What became of a message at one stage."""

    record: Action


Event = Watching | Saved | Refused | Changed | Reachable | Serving | Broken | Printed | Passed
Tell = Callable[[Event], None]


async def develop(link: Link, arguments: DevArguments, tell: Tell) -> None:
    """Apply the folder now and whenever something in it is saved, until cancelled.

    Raises NotFoundError where the folder is not there, UnreachableError where no cluster runs.
    """
    await link.agent.status()
    async with asyncio.TaskGroup() as tasks:
        loop = _Loop(link, arguments, tell, tasks)
        tasks.create_task(loop.follow_messages(), name="messages")
        tell(Watching(str(arguments.folder)))
        await loop.apply(time.monotonic())
        async with aclosing(saves(arguments.folder)) as all_saves:  # type: ignore[type-var]
            async for files in all_saves:
                began = time.monotonic()
                tell(Saved(tuple(files)))
                await loop.apply(began)


async def saves(folder: Path) -> AsyncIterator[list[str]]:
    """The files that were written together, relative to the folder; again and again.

    The kernel tells of them; where it cannot (its watches are used up, a file system without them) the folder is
    looked through instead.
    """
    from watchfiles import awatch

    polling: bool | None = None
    while True:
        try:
            async for found in awatch(folder, step=_TOGETHER, debounce=_TOGETHER_AT_MOST, force_polling=polling,
                                      poll_delay_ms=100, ignore_permission_denied=True,
                                      watch_filter=lambda _, path: is_saved(Path(path), folder)):
                names = {str(Path(path).relative_to(folder)) for _, path in found}
                there = {name for name in names if (folder / name).exists()}  # editors write beside, then rename
                yield sorted(there or names)
        except OSError:
            if polling:
                raise
            polling = True


def is_saved(path: Path, folder: Path) -> bool:
    """Whether somebody may have saved this: no hidden file, nothing that programs write by themselves. Pure."""
    parts = path.relative_to(folder).parts if path.is_relative_to(folder) else path.parts
    hidden = any(part.startswith(".") or part in LEFT_OUT for part in parts)
    return not hidden and not path.name.endswith(_NOT_SAVED) and path.name != "4913"  # which vim makes to try


class _Loop:
    """What is known between one save and the next."""

    def __init__(self, link: Link, arguments: DevArguments, tell: Tell, tasks: asyncio.TaskGroup) -> None:
        self._link = link
        self._arguments = arguments
        self._tell = tell
        self._tasks = tasks
        self._serving: asyncio.Task[None] | None = None
        self._logs: set[str] = set()
        self._flows: frozenset[str] = frozenset()
        self._addresses: tuple[Address, ...] = ()
        self._told: Callable[[str], str] = str

    async def apply(self, began: float) -> None:
        """Apply what the folder holds; whatever is wrong is told, and the loop goes on."""
        folder = self._arguments.folder
        try:
            number, changes = await self._applied(syntax_errors(folder), began)
            _, resources = await applied(self._link)
        except NotValidError as error:
            self._tell(Refused(tuple(map(str, error.problems)) or (str(error),)))
            return
        except ArintError as error:
            self._tell(Refused((str(error),)))
            return
        declared, _ = examine([folder], existing=resources.values())
        mine = {item.key: resources[item.key] for item in declared if item.key in resources}
        self._follow(mine, _sources(declared, resources))
        if changes and self._serving is not None:
            self._serving.cancel()
        if changes or self._serving is None:
            self._serving = self._tasks.create_task(self._until_served(number, resources, mine, began), name="serving")

    async def _applied(self, unreadable: list[str], began: float) -> tuple[int, tuple[Change, ...]]:
        if unreadable:
            raise NotValidError("syntax", problems=unreadable)
        arguments = ApplyArguments(paths=(self._arguments.folder,), prune=self._arguments.prune, wait=False, hasty=True,
                                   wheelhouse=self._arguments.wheelhouse, message="dev")
        while True:
            try:
                made = await apply(self._link, arguments)
            except ConflictError:  # somebody else applied in between: once more, over that
                continue
            if made.changes:
                self._tell(Changed(made.change_set, made.changes, time.monotonic() - began))
            return made.change_set, made.changes

    async def _until_served(self, number: int, resources: Mapping[str, Resource], mine: Mapping[str, Resource],
                            began: float) -> None:
        try:
            await wait_until_ready(self._link, number, resources, timeout=self._arguments.timeout, look_again=_LOOK,
                                   concerned=services_in(mine))
        except ArintError as error:
            self._tell(Broken(number, self._told(error.what)))
        else:
            self._tell(Serving(number, time.monotonic() - began))

    def _follow(self, mine: Mapping[str, Resource], sources: Mapping[str, Path]) -> None:
        """Tell of these from now on: their lines, their messages, their addresses."""
        self._told = in_sources(self._link.home, sources)
        services = [one for one in mine.values() if isinstance(one, Service)]
        self._flows = frozenset([one.name for one in mine.values() if isinstance(one, Flow)]
                                + [f"service={one.name}" for one in services])
        for instance in _instances_of(services):
            if instance not in self._logs and len(self._logs) < _MOST_LOGS:
                self._logs.add(instance)
                self._tasks.create_task(self._follow_lines(instance), name=f"lines of {instance}")
        found = addresses_of([one for one in mine.values() if isinstance(one, Channel)], self._link.config)
        if found != self._addresses:
            self._addresses = found
            self._tell(Reachable(found))

    async def _follow_lines(self, instance: str) -> None:
        """From before it runs: no line of a new instance is missed. An agent that restarts is asked again."""
        while True:
            with suppress(ArintError, OSError, msgspec.MsgspecError):
                said_twice = False
                async for line in self._link.agent.logs([instance], follow=True, lines=0):
                    if logged := _LOGGED.match(line.line):
                        said_twice = bool(_OWN_WORDS.fullmatch(line.line, logged.end()))
                    if not said_twice:
                        self._tell(Printed(instance, self._told(line.line)))
            await asyncio.sleep(_AGAIN)

    async def follow_messages(self) -> None:
        """Tell what becomes of messages; while the broker is away, of none."""
        from arint.operations.events import EventFilter, present

        while True:
            with suppress(ArintError, OSError):
                async with aclosing(present(self._link, EventFilter())) as records:  # type: ignore[type-var]
                    async for record in records:
                        if record.flow in self._flows:
                            self._tell(Passed(record))
            await asyncio.sleep(_AGAIN)


def syntax_errors(folder: Path) -> list[str]:
    """What keeps Python files beside the manifests from being read at all: known before anything is applied."""
    found = []
    for file in sorted(folder.rglob("*.py")):
        if not is_saved(file, folder):
            continue
        try:
            compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
        except SyntaxError as error:
            found.append(f"{file}:{error.lineno or 1}:{error.offset or 1}: {error.msg}")
        except (OSError, ValueError) as error:
            found.append(f"{file}: {error}")
    return found


def _sources(declared: list[Declared], resources: Mapping[str, Resource]) -> dict[str, Path]:
    """Where the code of each service was written, by its digest."""
    found: dict[str, Path] = {}
    for item in declared:
        there = resources.get(key_of(item.resource))
        if isinstance(there, Service):
            found[there.code] = item.folder if there.command else (item.folder / there.source.partition(":")[0]).parent
    return found


def _instances_of(services: list[Service]) -> list[str]:
    """The names that instances of these services may get, now or in a rollout, and the runner, who does the rest."""
    names = ["runner-1"]
    for service in services:
        count = 1 if service.mode != "replicated" else service.replicas
        names += [f"{service.name}-{number}" for number in range(1, 2 * max(count, 1) + 1)]
    return names
