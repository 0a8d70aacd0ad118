"""The administration service: takes calls from the bus, checks who may, audits, runs them, and answers in frames."""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from collections.abc import Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from arint.administration import frames
from arint.administration.audit import Audit, Record, told
from arint.administration.registry import Operation, find, may, within
from arint.administration.signing import Signing
from arint.administration.users import User, Users
from arint.bus.connection import Bus, Request, Subscription
from arint.errors import ArintError, DeniedError, NotValidError, UnreachableError
from arint.failures import tell
from arint.version import VERSION

if TYPE_CHECKING:
    from arint.operations.connect import Link
    from arint.operations.progress import Step

log = logging.getLogger(__name__)

MOST = 64
MOST_OF_ONE = 16
"""Calls at once, of all users and of one."""
GONE = 15.0
"""Seconds without a sign of life of the caller after which its call is cancelled."""


class Answers:
    """The frames of one call, with the window."""

    def __init__(self, bus: Bus, reply: str) -> None:
        self._bus, self._reply = bus, reply
        self._number = self._seen = 0
        self._moved = asyncio.Event()
        self.heard = time.monotonic()

    def saw(self, number: int) -> None:
        """The caller has taken all up to this one."""
        self.heard = time.monotonic()
        self._seen = max(self._seen, min(number, self._number))
        self._moved.set()

    def offer(self, frame: frames.Frame) -> bool:
        """Send a frame now, or, where the window is full, not at all."""
        if self._number - self._seen >= frames.WINDOW:
            return False
        self._number += 1
        self._bus.publish(self._reply, frames.encode(frames.Numbered(self._number, frame)))
        return True

    async def send(self, frame: frames.Frame) -> None:
        """Send a frame once the window has room."""
        while not self.offer(frame):
            self._moved.clear()
            await self._moved.wait()

    async def value(self, value: Any, last: type[frames.Item | frames.Result]) -> None:
        """Send a value, in parts where it is large. Raises ArintError where it is too large."""
        data = msgspec.msgpack.encode(value)
        if len(data) > frames.LONGEST_VALUE:
            raise ArintError(f"the answer takes {len(data):,} bytes; at most {frames.LONGEST_VALUE:,} are sent",
                             remedy="ask for less, or on a server's own home")
        while len(data) > frames.PART:
            await self.send(frames.Part(data[:frames.PART]))
            data = data[frames.PART:]
        await self.send(last(data))


class Service:
    """One a server node. `link` reaches the node's own home, and is the service's alone."""

    def __init__(self, link: Link, *, replicas: int = 1) -> None:
        self._link = link
        self._replicas = replicas
        self._name = Bus.new_token()
        self._node = link.config.node
        self._running: dict[str, tuple[str, Answers, asyncio.Task[None]]] = {}
        self._subscriptions: list[Subscription] = []
        self._bus: Bus
        self._users: Users
        self._audit: Audit

    async def start(self) -> None:
        """Listen. Raises ArintError where an engine does not answer."""
        self._bus = await self._link.bus()
        etcd = await self._link.etcd()
        self._users = Users(etcd, self._link.config.cluster)
        self._audit = Audit(self._bus, etcd, self._link.config.cluster)
        await self._audit.ensure(self._replicas)
        control = frames.control_subject("*", self._name, "*")
        self._subscriptions = [await self._bus.subscribe(control, "", self._on_control),
                               await Signing(self._link).listen(self._bus),
                               await self._bus.subscribe(frames.CALLS, frames.QUEUE, self._on_call)]

    async def stop(self, grace: float) -> None:
        """Take no more calls; what has begun has `grace` seconds."""
        for subscription in reversed(self._subscriptions):
            await subscription.close(grace)

    @property
    def in_flight(self) -> int:
        """Calls that are worked at."""
        return len(self._running)

    async def _on_control(self, request: Request) -> None:
        found = self._running.get(request.subject)
        if found is None:
            return
        _, answers, work = found
        try:
            word = frames.control.decode(request.body)
        except msgspec.MsgspecError:
            return
        if isinstance(word, frames.Seen):
            answers.saw(word.number)
        else:
            work.cancel()

    async def _on_call(self, request: Request) -> None:
        _, user, name = request.subject.split(".")
        if not request.reply.startswith(frames.reply_prefix(user)):  # else a caller could have us publish anywhere
            log.warning("a call of %s by %s asks for an answer elsewhere, and gets none", name, user)
            return
        answers, call = Answers(self._bus, request.reply), Bus.new_token()
        control = frames.control_subject(user, self._name, call)
        answers.offer(frames.Begun(control, self._node))
        if len(self._running) >= MOST or sum(one[0] == user for one in self._running.values()) >= MOST_OF_ONE:
            busy = UnreachableError("too many calls are worked at already", where=f"node {self._node}",
                                    remedy="try again in a moment")
            answers.offer(frames.Failed(tell(busy)))
            return
        work = asyncio.create_task(self._work(user, name, call, request.body, answers))
        self._running[control] = (user, answers, work)
        watching = asyncio.create_task(_watch(answers, work))
        try:
            await asyncio.wait([work])
        finally:
            work.cancel()
            watching.cancel()
            await asyncio.wait([work, watching], timeout=5.0)
            del self._running[control]

    async def _work(self, user: str, name: str, call: str, body: bytes, answers: Answers) -> None:
        try:
            await self._run(user, name, call, body, answers)
        except Exception as error:  # whatever an operation raises, its caller is told
            if not isinstance(error, ArintError):
                log.exception("%s by %s failed", name, user)
            problems = tuple(map(str, error.problems)) if isinstance(error, NotValidError) else ()
            await answers.send(frames.Failed(tell(error), problems))

    async def _run(self, name_of_user: str, name: str, call: str, body: bytes, answers: Answers) -> None:
        operation = find(name)
        asked, given = _read(operation, body)
        record = Record(call=call, at=time.time(), user=name_of_user, operation=name, outcome="begun", node=self._node,
                        arguments=told(given))
        try:
            user = await self._allowed(name_of_user, operation, asked)
        except DeniedError as error:
            await self._audit.append(msgspec.structs.replace(record, outcome="denied", error=error.what))
            raise
        link = copy.copy(self._link)  # the same connections
        link.actor, link.audited = user.name, True
        if operation.streams:
            async with aclosing(operation.function(link, **given)) as values:
                async for value in values:
                    await answers.value(value, frames.Item)
            await answers.send(frames.Result(b""))
            return
        more: dict[str, Any] = {"progress": _passing(answers)} if operation.takes_progress else {}
        if operation.role == "viewer":
            result = await operation.function(link, **given, **more)
        else:
            record = msgspec.structs.replace(record, role=user.role)
            result = await self._audit.around(record, lambda: within(operation.function, link, **given, **more),
                                              strict=True)
        await answers.value(result, frames.Result)

    async def _allowed(self, name: str, operation: Operation, asked: frames.Asked) -> User:
        """The caller. Raises DeniedError."""
        user = await self._users.find(name)
        if user is None:
            raise DeniedError(f"there is no user {name!r}, or no longer", where=f"node {self._node}",
                              remedy="an administrator makes one: arintctl user add")
        if asked.read_only and operation.role != "viewer":
            raise DeniedError(f"{operation.name} changes something, and the context is for reading only",
                              where=f"node {self._node}", remedy="use another context: arintctl context list")
        if not may(user.role, operation.role):
            raise DeniedError(f"{operation.name} needs the role {operation.role}; {name} is {_a(user.role)}",
                              where=f"node {self._node}", remedy="ask an administrator of the cluster")
        return user


def _read(operation: Operation, body: bytes) -> tuple[frames.Asked, Mapping[str, Any]]:
    """The call and its arguments. Raises NotValidError."""
    release = ""
    try:
        asked = frames.asked.decode(body)
        release = asked.release
        arguments = msgspec.msgpack.decode(asked.arguments, type=operation.arguments)
    except msgspec.MsgspecError as error:
        other = f"; it comes from release {release}, this is {VERSION}" if release not in ("", VERSION) else ""
        raise NotValidError(f"the call cannot be read: {error}{other}", where=operation.name,
                            remedy="use an arintctl of the cluster's release") from None
    return asked, {name: getattr(arguments, name) for name in operation.parameters}


def _passing(answers: Answers) -> Any:
    def progress(step: Step) -> None:
        answers.offer(frames.Progressed(step))

    return progress


async def _watch(answers: Answers, work: asyncio.Task[None]) -> None:
    """Tell the caller that the call is worked at; end it where nobody waits for it any more."""
    while time.monotonic() - answers.heard < GONE:
        await asyncio.sleep(frames.ALIVE)
        answers.offer(frames.Alive())
    work.cancel()


def _a(role: str) -> str:
    return f"an {role}" if role[0] in "ao" else f"a {role}"
