"""All workers of this node: brought in line with what is assigned to it, each with its orders."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from itertools import count

from arint import environment
from arint.accounts import account
from arint.calls.sockets import forget
from arint.engines.machine import memory
from arint.engines.process import Process
from arint.errors import ArintError, TimedOutError, UnreachableError
from arint.flows.contracts import Contract
from arint.home import Home
from arint.limits.ceiling import Ceiling, ceiling_of
from arint.limits.fence import MARK, Fences, Look, Way
from arint.registry.records import Assignment, Registration
from arint.resources.kinds import Service
from nodeagent.bell import Bell
from nodeagent.orders import Surroundings, Task, orders_for
from nodeagent.source import Source
from nodeagent.supplies import Supplies, Waiting
from nodeagent.workers import Worker

log = logging.getLogger(__name__)

GRACE = 10.0
"""Seconds that a worker may take to finish what it has begun."""
_ADOPTED_UNKNOWN = 3.0
"""Seconds within which an adopted worker says how it stands; until then what was known of it holds."""
_TRY_AGAIN = 2.0
_LOOK = 1.0
_LOOK_NEAR = 0.25
_STRAYS_EACH = 10
"""Looks from one search for strays to the next: it reads the environment of every process of the machine."""
_WORKER_FILE = re.compile(r"[a-z0-9].*-\d+")


class Crew:
    """`workers` are those assigned; `leaving` those that drain. `command` is what every worker is started with."""

    def __init__(self, home: Home, around: Surroundings, command: Sequence[str], bell: Bell, *,
                 grace: float = GRACE) -> None:
        self.workers: dict[str, Worker] = {}
        self.leaving: dict[str, Worker] = {}
        self.contracts: dict[str, Contract] = {}
        """What services take and return, as the newest of their workers here said it."""
        self.change_set = -1
        """The change set whose orders were given last; -1 before the first."""
        self._home = home
        self._around = around
        self._command = tuple(command)
        self._bell = bell
        self._grace = grace
        self._supplies = Supplies(home, bell)
        self.failures: dict[str, Worker] = {}
        """By service, the last that left because it had failed: it may be gone before its rollout tells of it."""
        self._running: dict[str, asyncio.Task[None]] = {}
        self._drains: dict[str, asyncio.Task[None]] = {}
        self._fences = Fences(home.path)
        self._memory = memory()
        self._begun = time.monotonic()
        self._swept = False

    @property
    def limits(self) -> Way:
        """How instances are held to their limits here."""
        return self._fences.way

    async def watch_limits(self) -> None:
        """End what is over its limits, until cancelled; where the kernel does not do it, this is what does."""
        for number in count():
            look = Look(for_strays=number % _STRAYS_EACH == 0)
            workers = [*self.workers.values(), *self.leaving.values()]
            for worker in workers:
                worker.look(look)
            is_near = any(worker.process.fence is not None and worker.process.fence.near for worker in workers)
            await asyncio.sleep(_LOOK_NEAR if is_near else _LOOK)

    def find(self, instance: str) -> Worker | None:
        """The worker with this name, also while it leaves."""
        return self.workers.get(instance) or self.leaving.get(instance)

    def users(self) -> set[int]:
        """Who a worker may be, beside the agent's own user."""
        return {worker.user for worker in [*self.workers.values(), *self.leaving.values()]}

    async def reconcile(self, assigned: Mapping[str, Assignment], source: Source) -> None:
        """Start what is assigned, drain what is not, give everyone their orders."""
        if not self._swept:
            self._swept = True
            self._drain_strays(assigned)
        for name, worker in list(self.workers.items()):
            there = assigned.get(name)
            if there is None or (there.service, there.version) != (worker.task.service, worker.version):
                self._leave(name)
        self.contracts |= {one.task.service: one.contract for one in self.workers.values() if one.contract is not None}
        for name in sorted(assigned.keys() - self.leaving.keys()):
            await self._bring_up(assigned[name], source)
        self._supplies.settle()
        source.forget(assigned.values())
        self.contracts = {name: one for name, one in self.contracts.items() if name in source.configuration.services}
        self.failures = {name: one for name, one in self.failures.items() if name in source.configuration.services}
        self.change_set = source.configuration.number

    def registrations(self, known: Mapping[str, Registration]) -> dict[str, Registration]:
        """What the cluster is to be told; `known` is what it was told before this agent started."""
        current = {name: worker.registration() for name, worker in {**self.workers, **self.leaving}.items()
                   if worker.task.service}
        if time.monotonic() - self._begun < _ADOPTED_UNKNOWN:
            for name, before in known.items():
                if name in current and self._just_adopted(name) and before.version == current[name].version:
                    current[name] = before
        return current

    async def drain_singletons(self, names: Sequence[str]) -> None:
        """Stop at once what may run only once in the cluster; it is started again when the lease is back."""
        for name in names:
            if name in self.workers:
                self._leave(name, grace=0.0)

    def hold(self, names: Sequence[str], until: float) -> None:
        """Tell what may run only once until when it may, in seconds of CLOCK_BOOTTIME."""
        for name in names:
            if name in self.workers:
                self.workers[name].hold(until)

    async def stop(self) -> None:
        """Drain everyone; none is left when this returns."""
        for name in list(self.workers):
            self._leave(name)
        while self._drains:
            await asyncio.wait(list(self._drains.values()))
        self._fences.close()
        await self._supplies.close()

    async def release(self) -> None:
        """Leave all workers running for the next agent."""
        tasks = [*self._running.values(), *self._drains.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._supplies.close()
        for worker in [*self.workers.values(), *self.leaving.values()]:
            worker.process.release()

    async def _bring_up(self, assignment: Assignment, source: Source) -> None:
        try:
            task = await source.task(assignment)
            user = self._user(task)
            code, packages = self._supplies.of(task.spec) if task.spec is not None else ("", "")
            orders = orders_for(task, source.configuration, self._around, code=code, packages=packages,
                                secrets=await source.secrets(task), contracts=self.contracts)
        except (UnreachableError, TimedOutError):
            raise  # etcd is away: that says nothing about this instance
        except Waiting as waiting:
            self._worker(task, assignment.version, user).wait_for(str(waiting))
            return
        except ArintError as error:
            worker = self._worker(Task(assignment.instance, assignment.service), assignment.version)
            log.warning("%s gets no orders: %s", assignment.instance, error)
            worker.refuse(str(error), source.configuration.number)
            return
        worker = self._worker(task, assignment.version, user)
        worker.give(orders)
        if worker.process.fence is not None and task.spec is not None:
            worker.process.fence.limit(self._ceiling(task.spec))
        self._run(worker)

    def _ceiling(self, service: Service) -> Ceiling:
        return ceiling_of(service.resources, self._memory)

    def _user(self, task: Task) -> int:
        """Who its processes will be: this agent's user, or the service's own, to whom the way to its code is opened.

        Raises NotFoundError or DeniedError for a user that cannot be had.
        """
        if task.spec is None or not task.spec.user:
            return os.geteuid()
        wanted = account(task.spec.user, where=f"service/{task.service}")
        if wanted.uid != os.geteuid():
            self._home.let_through()
        return wanted.uid

    def _worker(self, task: Task, version: str, user: int = 0) -> Worker:
        worker = self.workers.get(task.instance)
        if worker is None or (worker.task.spec is None and task.spec is not None and not worker.process.running):
            worker = Worker(task, version, self._around.node, self._process(task, version, user), self._bell.ring,
                            user=user)
            self.workers[task.instance] = worker
        return worker

    def _process(self, task: Task, version: str, user: int) -> Process:
        argv = [*self._command, "--home", str(self._home.path), "--instance", task.instance]
        # The version makes an adopted process of another one `outdated`; two arenas keep glibc from hoarding.
        env = {"ARINT_VERSION": version, "ARINT_DATA": str(self._home.data), "MALLOC_ARENA_MAX": "2"}
        if task.spec is None:  # the system's own: the administrator's environment is theirs
            return Process(self._home, task.instance, argv, env=env)
        fence = self._fences.around(task.instance, self._ceiling(task.spec), user)
        return Process(self._home, task.instance, argv, env={**env, MARK: self._fences.mark(task.instance)},
                       inherit=_for_service, fence=fence)

    def _run(self, worker: Worker) -> None:
        name = worker.task.instance
        if name in self._running:
            return
        if worker.process.adopt() and worker.process.outdated:
            log.info("%s runs another version: it is started anew", name)
            self._leave(name)
            return
        self._running[name] = running = asyncio.create_task(worker.run(), name=f"worker {name}")
        running.add_done_callback(lambda ended: self._ended(name, ended))

    def _ended(self, name: str, ended: asyncio.Task[None]) -> None:
        """Cancelled when it is to leave. Anything else (a full disk) is told, and tried again."""
        if ended.cancelled() or self._running.get(name) is not ended:
            return
        del self._running[name]
        log.error("%s cannot be kept running: %s", name, ended.exception())
        asyncio.get_running_loop().call_later(_TRY_AGAIN, self._bell.ring)

    def _leave(self, name: str, *, grace: float | None = None) -> None:
        worker = self.workers.pop(name)
        self.leaving[name] = worker
        if worker.task.service and worker.registration().state == "failed":
            self.failures[worker.task.service] = worker
        self._drains[name] = asyncio.create_task(self._drain(worker, self._grace if grace is None else grace),
                                                 name=f"drain {name}")

    async def _drain(self, worker: Worker, grace: float) -> None:
        name = worker.task.instance
        running = self._running.pop(name, None)
        if running is not None:
            running.cancel()
            await asyncio.wait([running])
        try:
            await worker.drain(grace)
        finally:
            forget(self._home, name)
            self.leaving.pop(name, None)
            self._drains.pop(name, None)
            self._bell.ring()

    def _drain_strays(self, assigned: Mapping[str, Assignment]) -> None:
        """Workers of an earlier agent whose assignment went while no agent was there."""
        for file in sorted(self._home.run.glob("*.json")):
            name = file.stem
            if name in assigned or not _WORKER_FILE.fullmatch(name):
                continue
            process = Process(self._home, name, ())
            with contextlib.suppress(OSError):
                if process.adopt():
                    log.info("%s is no longer assigned: it is stopped", name)
                    self.workers[name] = Worker(Task(name, ""), "", self._around.node, process, self._bell.ring)
                    self._leave(name)

    def _just_adopted(self, name: str) -> bool:
        worker = self.workers.get(name)
        return worker is not None and worker.beat is None and worker.starts == 1


def _for_service(own: Mapping[str, str]) -> Mapping[str, str]:
    """What of the agent's environment a service's worker is given."""
    return environment.clean(own, python=True)
