"""cluster add-node: bare machines become nodes of a cluster, over SSH, each by itself, all at once.

    connect, facts, preflight      of every machine; those that fail do not stop the others
    plan, approve                  what is left to be done, shown and agreed to once
    upload … join                  carried out, while the machine is held by a lock on itself
    prove                          a message has passed through the new member
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

from arint.bootstrap import planning, preflight
from arint.bootstrap.carrying import Machine
from arint.bootstrap.doors import Door, is_loopback
from arint.bootstrap.facts import Facts, gather
from arint.bootstrap.hostkeys import KnownHosts
from arint.bootstrap.inventory import Host
from arint.bootstrap.passwords import Passwords
from arint.bootstrap.planning import (
    Account,
    Certify,
    Effect,
    Found,
    HostPlan,
    Install,
    Join,
    Phase,
    Plan,
    Prove,
    Release,
    Serve,
    Start,
    Switch,
    Target,
    Upload,
    phase_of,
    told,
)
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
    """What became of one machine. `state`: planned, added, changed, unchanged, failed. `took` in seconds."""

    node: str
    host: str
    state: str
    took: float
    effects: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str = ""
    problems: tuple[str, ...] = ()
    code: int = 0


class Added(msgspec.Struct, frozen=True):
    """All of them, and the plan that was carried out, or would be."""

    outcomes: tuple[Outcome, ...]
    plan: Plan


Approve = Callable[[Plan], bool]
Tell = Callable[[Told], None]


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """How to go about it: `parallel` machines at once, `timeout` in seconds for the proof of each."""

    dry_run: bool = False
    saved: Plan | None = None
    parallel: int = 10
    timeout: float = 60.0


class Tools(msgspec.Struct, frozen=True):
    """What is asked on the way: whether to trust a host key, for passwords, whether to go on."""

    known: KnownHosts
    passwords: Passwords
    approve: Approve


def _nothing(told: Told) -> None:
    pass


class _Work:
    """One machine, and how far it is."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.machine: Machine | None = None
        self.target: Target | None = None
        self.plan: HostPlan | None = None
        self.error: ArintError | None = None
        self.done: list[str] = []
        self._took = 0.0
        self._begun = 0.0

    @property
    def ready(self) -> Machine:
        """The machine, once it was reached."""
        assert self.machine is not None
        return self.machine

    def begin(self) -> None:
        self._begun = time.monotonic()

    def end(self) -> None:
        self._took += time.monotonic() - self._begun

    def outcome(self, state: str = "") -> Outcome:
        """What became of it."""
        plan, error = self.plan, self.error
        effects = tuple(told(effect) for effect in plan.changes) if plan is not None else ()
        if error is not None:
            problems = tuple(map(str, error.problems)) if isinstance(error, NotValidError) else ()
            return Outcome(node=self.host.node, host=self.host.host, state="failed", took=self._took,
                           effects=tuple(self.done), error=str(error), problems=problems, code=error.exit_code)
        joined = self.target is not None and self.target.joined
        state = state or ("unchanged" if not effects else "changed" if joined else "added")
        return Outcome(node=self.host.node, host=self.host.host, state=state, took=self._took, effects=effects,
                       notes=plan.notes if plan is not None else ())


class Adding:
    """One run of it. `door` is awaited when the first machine is to be planned; `founds` is the name of the node that
    is the first server of a new cluster.
    """

    def __init__(self, tools: Tools, wishes: Wishes, release: Callable[[], Release], tell: Tell = _nothing) -> None:
        self._tools = tools
        self._wishes = wishes
        self._tell = tell
        self._make_release = release
        self._pool = ThreadPoolExecutor(max_workers=min(MOST_AT_ONCE, wishes.parallel) + 2,
                                        thread_name_prefix="ssh")
        self._limit = asyncio.Semaphore(max(1, min(MOST_AT_ONCE, wishes.parallel)))
        self._remotes: list[Remote] = []
        self._release: asyncio.Future[Release] | None = None

    async def __aenter__(self) -> Adding:
        self._release = self._aside(self._make_release)
        return self

    async def __aexit__(self, *failure: object) -> None:
        for remote in self._remotes:
            remote.close()
        if self._release is not None:
            self._release.cancel()
            await asyncio.gather(self._release, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def pool(self) -> ThreadPoolExecutor:
        """Where what blocks runs."""
        return self._pool

    async def run(self, hosts: Sequence[Host], door: Door | None, founds: str = "") -> Added:
        """Plan all, ask once, carry all out."""
        recorded = {} if door is None else {name: one.host for name, one in (await door.nodes()).items()}
        works = [_Work(host) for host in hosts]
        await self._each(works, lambda work: self._look(work, door, recorded, founds))
        assert self._release is not None
        planned = [work.plan for work in works if work.plan is not None and work.error is None]
        whole = Plan(release=(await self._release).id if planned else "", hosts=tuple(planned))
        if self._wishes.saved is not None and planned:
            _refuse_other(self._wishes.saved, whole)
        if self._wishes.dry_run:
            return Added(tuple(work.outcome("planned") for work in works), whole)
        if any(plan.changes for plan in planned):
            for work in works:
                self._say(work, "approve", "")
            if not self._tools.approve(whole):
                raise ArintError("not approved; nothing was changed")
        await self._each(works, lambda work: self._carry_out(work, door))
        return Added(tuple(work.outcome() for work in works), whole)

    async def reach(self, host: Host) -> Machine:
        """A machine with its facts."""
        remote = await self._aside(lambda: connect(host, self._tools.known, self._tools.passwords))
        self._remotes.append(remote)
        facts = await self._aside(lambda: gather(remote, self._sudo_password(host, remote), time.time()))
        return Machine(remote, facts, lambda text: None)

    def _sudo_password(self, host: Host, remote: Remote) -> str | None:
        if host.sudo_password is None or remote.user == "root":
            return None
        return self._tools.passwords.get(host.sudo_password, f"sudo password of {remote.user}@{host.host}")

    async def _look(self, work: _Work, door: Door | None, recorded: dict[str, str], founds: str) -> None:
        assert self._release is not None
        host = work.host
        if host.local:
            raise NotValidError("it is this machine itself (local: true)", where=host.node,
                                remedy="arintctl up starts its node")
        self._say(work, "connect", f"to {host.host}")
        work.machine = await self.reach(host)
        work.machine.said = lambda text: self._say(work, "upload", text)
        self._say(work, "facts", _described(work.machine.facts), done=True)
        release = await self._release
        target = Target(host=host, facts=work.machine.facts, release=release, recorded=recorded.get(host.node, ""),
                        founds=host.node == founds, timeout=self._wishes.timeout)
        self._say(work, "preflight", "")
        problems = preflight.problems(target)
        if door is not None and not target.joined:
            problems += await self._aside(lambda: _unreachable(work.ready.remote, door.servers))
        preflight.refuse(host.node, problems)
        self._say(work, "preflight", "no problem", done=True)
        work.plan, work.target = planning.plan(target), target
        changes = len(work.plan.changes)
        self._say(work, "plan", f"{changes} steps" if changes else "nothing to do", done=True)

    async def _carry_out(self, work: _Work, door: Door | None) -> None:
        assert work.plan is not None
        machine = work.ready
        if work.plan.changes:
            await self._aside(lambda: machine.lock(_who()))
            await self._refuse_changed(work)
        documents: list[JoinDocument] = []
        for effect in work.plan.effects:
            self._say(work, phase_of(effect), told(effect))
            await self._effect(machine, effect, door, documents)
            if not isinstance(effect, Prove):
                work.done.append(told(effect))
            self._say(work, phase_of(effect), told(effect), done=True)

    async def _refuse_changed(self, work: _Work) -> None:
        """Between the plan and the lock somebody else may have been there."""
        assert work.plan is not None
        remote = work.ready.remote
        again = await self._aside(lambda: gather(remote, self._sudo_password(work.host, remote), time.time()))
        if planning.digest(again) != work.plan.standing:
            raise ConflictError("the machine was changed by another in the meantime", where=work.host.node,
                                remedy="run the same again")

    async def _effect(self, machine: Machine, effect: Effect, door: Door | None, documents: list[JoinDocument]) -> None:
        match effect:
            case Upload():
                await self._aside(lambda: machine.upload(effect))
            case Account():
                await self._aside(lambda: machine.account(effect))
            case Install():
                await self._aside(lambda: machine.install(effect))
            case Switch():
                await self._aside(lambda: machine.switch(effect))
            case Found():
                await self._aside(lambda: machine.found(effect))
            case Certify(asked=asked):
                assert door is not None
                request = await self._aside(lambda: machine.request(asked))
                document = await door.admit(request)
                _refuse_loopback(document)
                documents.append(document)
            case Join():
                await self._aside(lambda: machine.join(documents[-1]))
            case Serve():
                await self._aside(lambda: machine.serve(effect))
            case Start():
                await self._aside(lambda: machine.start(effect))
            case Prove():
                await self._aside(lambda: machine.prove(effect))

    async def _each(self, works: Sequence[_Work], step: Callable[[_Work], Awaitable[None]]) -> None:
        """Each by itself, so many at once; what fails is kept with its machine."""

        async def one(work: _Work) -> None:
            async with self._limit:
                work.begin()
                try:
                    await step(work)
                except ArintError as error:
                    work.error = error
                finally:
                    work.end()

        async with asyncio.TaskGroup() as tasks:
            for work in works:
                if work.error is None:
                    tasks.create_task(one(work), name=work.host.node)

    def _aside(self, call: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._pool, call)

    def _say(self, work: _Work, phase: Phase, text: str, *, done: bool = False) -> None:
        self._tell(Told(work.host.node, phase, text, done))


def _described(facts: Facts) -> str:
    keeper = "systemd" if facts.systemd_unit else "no systemd" if facts.root else "no root"
    return f"{facts.system} {facts.machine}, glibc {facts.glibc}, {facts.processors} processors, {keeper}"


def _who() -> str:
    """Whom another administrator is told of."""
    return f"{getpass.getuser()}@{socket.gethostname()}, since {time.strftime('%H:%M:%S')}"


def _unreachable(remote: Remote, servers: Sequence[tuple[str, int]]) -> list[str]:
    """Which servers of the cluster the machine does not reach, where its sshd lets us ask."""
    missing = [f"{host}:{port}" for host, port in servers if remote.reaches(host, port) is False]
    return [f"it does not reach the cluster's servers at {', '.join(missing)}: open these ports between them"
            ] if missing else []


def _refuse_loopback(document: JoinDocument) -> None:
    for name, member in document.members.items():
        if is_loopback(member.host) and not is_loopback(document.asked.host):
            raise NotValidError(f"the server {name} listens on {member.host}, where no other machine reaches it",
                                where=document.asked.node,
                                remedy="set it up with an address that others reach: arintctl up --host ADDRESS")


def _refuse_other(saved: Plan, now: Plan) -> None:
    """Raises ConflictError that names each machine for which the saved plan does not hold any more."""
    before, after = {one.node: one for one in saved.hosts}, {one.node: one for one in now.hosts}
    problems = [f"{name}: not in the saved plan" for name in after.keys() - before.keys()]
    for name in before.keys() & after.keys():
        if before[name].standing != after[name].standing:
            problems.append(f"{name}: a fact has changed since the plan was made")
        elif before[name].effects != after[name].effects:
            problems.append(f"{name}: other steps are needed now, or the inventory or the bundle has changed")
    if problems:
        raise ConflictError(f"the saved plan does not hold any more: {'; '.join(sorted(problems))}",
                            remedy="make a new one with --dry-run --out")
