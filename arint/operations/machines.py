"""Work on several machines at once over SSH: each by itself; what fails is kept with its machine.

    look        connect, facts, and what is to be done, decided by the caller
    approve     all plans are shown, and agreed to once
    carry out   effect after effect, while the machine is held by a lock on itself
"""

from __future__ import annotations

import asyncio
import getpass
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from arint.bootstrap.carrying import Machine
from arint.bootstrap.doors import Door, is_loopback
from arint.bootstrap.effects import (
    Account,
    Certify,
    Clean,
    Drain,
    Effect,
    Forget,
    Install,
    Join,
    Phase,
    Prove,
    Prune,
    Serve,
    Start,
    Stop,
    Switch,
    Uncordon,
    Uninstall,
    Upload,
    phase_of,
    told,
)
from arint.bootstrap.facts import Facts, gather
from arint.bootstrap.hostkeys import KnownHosts
from arint.bootstrap.inventory import Host
from arint.bootstrap.passwords import Passwords
from arint.bootstrap.planning import HostPlan, Plan
from arint.bootstrap.ssh import Remote, connect
from arint.errors import ArintError, ConflictError, NotValidError
from arint.operations.membership import JoinDocument

T = TypeVar("T")
MOST_AT_ONCE = 64


class Told(msgspec.Struct, frozen=True):
    """Where a machine stands: for whoever shows it."""

    node: str
    phase: Phase
    text: str = ""
    done: bool = False


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one machine. `state`: planned, done, unchanged, failed. `took` in seconds."""

    node: str
    host: str
    state: str
    took: float
    effects: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str = ""
    problems: tuple[str, ...] = ()
    code: int = 0


class Outcomes(msgspec.Struct, frozen=True):
    """All of them, and the plan that was carried out, or would be."""

    outcomes: tuple[Outcome, ...]
    plan: Plan


Tell = Callable[[Told], None]


def silent(told: Told) -> None:
    """For those who do not want to know."""


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """How to go about it: `parallel` machines at once; in seconds, `timeout` for the proof of each, `waiting` for a
    drain, which `force` makes stop what no other node takes.
    """

    dry_run: bool = False
    saved: Plan | None = None
    parallel: int = 10
    timeout: float = 60.0
    waiting: float = 300.0
    force: bool = False


class Tools(msgspec.Struct, frozen=True):
    """What is asked on the way: whether to trust a host key, for passwords, whether to go on."""

    known: KnownHosts
    passwords: Passwords
    approve: Callable[[Plan], bool]


class Work:
    """One machine, and how far it is."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.plan: HostPlan | None = None
        self.error: ArintError | None = None
        self.did = "done"
        """The state of one that was changed."""
        self.done: list[str] = []
        self.documents: list[JoinDocument] = []
        self._machine: Machine | None = None
        self._took = 0.0

    @property
    def machine(self) -> Machine:
        """The machine, once it was reached."""
        assert self._machine is not None
        return self._machine

    @machine.setter
    def machine(self, machine: Machine) -> None:
        self._machine = machine

    async def timed(self, step: Awaitable[None]) -> None:
        """Take a step; its failure and its time are kept here."""
        begun = time.monotonic()
        try:
            await step
        except ArintError as error:
            self.error = error
        finally:
            self._took += time.monotonic() - begun

    def outcome(self, state: str = "") -> Outcome:
        """What became of it."""
        plan, error = self.plan, self.error
        if error is not None:
            problems = tuple(map(str, error.problems)) if isinstance(error, NotValidError) else ()
            return Outcome(node=self.host.node, host=self.host.host, state="failed", took=self._took,
                           effects=tuple(self.done), error=str(error), problems=problems, code=error.exit_code)
        effects = tuple(told(effect) for effect in plan.changes) if plan is not None else ()
        return Outcome(node=self.host.node, host=self.host.host, took=self._took, effects=effects,
                       state=state or (self.did if effects else "unchanged"),
                       notes=plan.notes if plan is not None else ())


class Machines:
    """One run. Use it as a context manager: its connections end with it."""

    def __init__(self, tools: Tools, wishes: Wishes, tell: Tell = silent) -> None:
        self.wishes = wishes
        self.tools = tools
        self.tell = tell
        most = max(1, min(MOST_AT_ONCE, wishes.parallel))
        self.pool = ThreadPoolExecutor(max_workers=most + 2, thread_name_prefix="ssh")
        self._limit = asyncio.Semaphore(most)
        self._remotes: list[Remote] = []

    async def __aenter__(self) -> Machines:
        return self

    async def __aexit__(self, *failure: object) -> None:
        for remote in self._remotes:
            remote.close()
        self.pool.shutdown(wait=False, cancel_futures=True)

    def aside(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Run what blocks."""
        return asyncio.get_running_loop().run_in_executor(self.pool, call)

    async def each(self, works: Sequence[Work], step: Callable[[Work], Awaitable[None]]) -> None:
        """A step with each that has not failed, so many at once."""

        async def one(work: Work) -> None:
            async with self._limit:
                await work.timed(step(work))

        async with asyncio.TaskGroup() as tasks:
            for work in works:
                if work.error is None:
                    tasks.create_task(one(work), name=work.host.node)

    async def reach(self, host: Host) -> Machine:
        """Connect, and read the facts."""
        remote = await self.aside(lambda: connect(host, self.tools.known, self.tools.passwords))
        self._remotes.append(remote)
        facts = await self._facts(remote)
        return Machine(remote, facts, lambda text: None)

    async def meet(self, work: Work) -> None:
        """Reach the machine of a work, hold it while this lasts, and tell."""
        self.say(work, "connect", f"to {work.host.host}")
        machine = work.machine = await self.reach(work.host)
        if not self.wishes.dry_run:  # hold it, and read what it is once more: another may have been there
            await self.aside(lambda: machine.lock(_who()))
            machine.facts = await self._facts(machine.remote)
        work.machine.said = lambda text: self.say(work, "upload", text)
        self.say(work, "facts", _described(work.machine.facts), done=True)

    def say(self, work: Work, phase: Phase, text: str, *, done: bool = False) -> None:
        """Tell where a machine stands."""
        self.tell(Told(work.host.node, phase, text, done))

    def agreed(self, works: Sequence[Work], release: str = "") -> tuple[Plan, bool]:
        """The plan of all, and whether it is to be carried out. Raises ConflictError where a saved one does not hold,
        ArintError where it is not agreed to.
        """
        plans = [work.plan for work in works if work.plan is not None and work.error is None]
        whole = Plan(release=release if plans else "", hosts=tuple(plans))
        if self.wishes.saved is not None and plans:
            refuse_other(self.wishes.saved, whole)
        if self.wishes.dry_run:
            return whole, False
        if any(plan.changes for plan in plans) and not self.tools.approve(whole):
            raise ArintError("not approved; nothing was changed")
        return whole, True

    async def carry_out(self, work: Work, door: Door | None) -> None:
        """All effects of one machine's plan, in their order."""
        assert work.plan is not None
        for effect in work.plan.effects:
            self.say(work, phase_of(effect), told(effect))
            await self._effect(work, effect, door)
            if not isinstance(effect, Prove):
                work.done.append(told(effect))
            self.say(work, phase_of(effect), told(effect), done=True)

    async def _facts(self, remote: Remote) -> Facts:
        host = remote.host
        return await self.aside(lambda: gather(remote, self._sudo_password(host, remote), time.time()))

    def _sudo_password(self, host: Host, remote: Remote) -> str | None:
        if host.sudo_password is None or remote.user == "root":
            return None
        return self.tools.passwords.get(host.sudo_password, f"sudo password of {remote.user}@{host.host}")

    async def _effect(self, work: Work, effect: Effect, door: Door | None) -> None:
        machine = work.machine
        if isinstance(effect, Certify):
            assert door is not None
            asked = effect.asked
            document = await door.admit(await self.aside(lambda: machine.request(asked)))
            _refuse_loopback(document)
            work.documents.append(document)
        elif isinstance(effect, Drain | Uncordon | Forget):
            assert door is not None
            await _ask(door, effect)
        else:
            await self.aside(lambda: _do(machine, effect, work.documents))


async def _ask(door: Door, effect: Drain | Uncordon | Forget) -> None:
    """What the cluster does."""
    match effect:
        case Drain(node=node, timeout=timeout, force=force):
            await door.drain(node, timeout, force=force)
        case Uncordon(node=node):
            await door.uncordon(node)
        case Forget(node=node):
            await door.forget(node)


def _do(machine: Machine, effect: Effect, documents: list[JoinDocument]) -> None:
    """What is done on the machine."""
    match effect:
        case Upload():
            machine.upload(effect)
        case Account():
            machine.account(effect)
        case Install():
            machine.install(effect)
        case Switch():
            machine.switch(effect)
        case Join():
            machine.join(documents[-1])
        case Serve():
            machine.serve(effect)
        case Start():
            machine.start(effect)
        case Prove():
            machine.prove(effect)
        case Stop():
            machine.disable()
        case Clean():
            machine.clean()
        case Uninstall():
            machine.uninstall()
        case Prune(keep=keep):
            machine.uninstall(*keep)


def _described(facts: Facts) -> str:
    keeper = "systemd" if facts.systemd_unit else "no systemd" if facts.root else "no root"
    return f"{facts.system} {facts.machine}, glibc {facts.glibc}, {facts.processors} processors, {keeper}"


def _who() -> str:
    """Whom another administrator is told of."""
    return f"{getpass.getuser()}@{socket.gethostname()}, since {time.strftime('%H:%M:%S')}"


def _refuse_loopback(document: JoinDocument) -> None:
    for name, member in document.members.items():
        if is_loopback(member.host) and not is_loopback(document.asked.host):
            raise NotValidError(f"the server {name} listens on {member.host}, where no other machine reaches it",
                                where=document.asked.node,
                                remedy="set it up with an address that others reach: arintctl up --host ADDRESS")


def refuse_other(saved: Plan, now: Plan) -> None:
    """Raises ConflictError that names each machine for which the saved plan does not hold any more. Pure."""
    before, after = {one.node: one for one in saved.hosts}, {one.node: one for one in now.hosts}
    problems = [f"{name}: not in the saved plan" for name in after.keys() - before.keys()]
    for name in before.keys() & after.keys():
        if before[name].standing != after[name].standing:
            problems.append(f"{name}: a fact has changed since the plan was made")
        elif before[name].effects != after[name].effects:
            problems.append(f"{name}: other steps are needed now, since the inventory or the bundle has changed")
    if problems:
        raise ConflictError(f"the saved plan does not hold any more: {'; '.join(sorted(problems))}",
                            remedy="make a new one with --dry-run --out")
