"""The role `service`: one replica of a user's service. It takes the stages that call it, and answers requests.

What processes a message is a callable in this process (`source`), or a program that it starts (`command`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from arint import environment
from arint.accounts import Account, account, become, reachable
from arint.bus import requests
from arint.bus.connection import Subscription
from arint.bus.subjects import rpc, rpc_at
from arint.calls.frames import Hello
from arint.calls.server import Asked, CallServer
from arint.calls.sockets import name_of
from arint.calls.streams import gather
from arint.command.service import CommandService, Setting
from arint.errors import MessageError, SystemUnavailableError, TimedOutError
from arint.flows.contracts import Contract, schema_of
from arint.flows.state import Level, Reply
from arint.here import refuse_elsewhere
from arint.home import Home
from arint.message import Message
from arint.meters.families import CALL_DURATION
from arint.resources.kinds import Service
from arint.resources.quantities import seconds
from arint.resources.variables import resolve
from arint.runtime.control import Orders
from arint.runtime.desk import Desk
from arint.runtime.loader import load_callable
from arint.runtime.processor import StageProcessor
from arint.runtime.programs import Programs
from arint.runtime.stages import Key, Stages
from arint.runtime.watchdog import Watchdog
from arint.runtime.within import within
from arint.sdk import LARGEST_GATHERED, Context, Handler

log = logging.getLogger(__name__)
_LEVELS = logging.getLevelNamesMapping()

LOOKAHEAD = 4
"""Messages taken from the bus for each that may be worked at: the others are being stored, or wait their turn."""
MOST_THREADS = 64
MOST_WAITING = 8
"""Calls that may wait for each that may be worked at; more are refused."""
_TOLD = frozenset({"ARINT_DATA", "ARINT_NODE", "ARINT_CLUSTER"})
"""The variables that a program finds in its environment."""


class ServiceUnit:
    """Loads the callable, or starts the program, once; a new version is a new process."""

    circuits: dict[str, float] = {}  # noqa: RUF012 - never written to: a service has none

    def __init__(self, desk: Desk, on_change: Callable[[], None]) -> None:
        self._desk = desk
        self._on_change = on_change
        self._stages = Stages(desk)
        self._host: Host | None = None
        self._subscriptions: list[Subscription] = []
        self._server: CallServer | None = None
        self._watchdog = Watchdog()

    async def apply(self, orders: Orders) -> None:
        """Load the code; take every stage that calls this service, in whatever flow."""
        service = orders.service
        assert service is not None
        if self._host is None:
            # Before it may become another user, who could not make it
            self._server = CallServer(self._desk.peers.sockets, name_of("service", orders.instance))
            self._server.bind()
            self._host = await self._opened(service, orders)
        self._host.configure(service, orders)
        self._watchdog.watch(seconds(service.timeout))
        programs = Programs(orders)
        target = f"service/{service.name}"
        wanted: dict[Key, StageProcessor] = {}
        for flow, program in programs.all.items():
            mine = [token for token, stage in program.stages.items() if stage.target == target]
            if mine:
                await programs.ensure(self._desk, flow)
            wanted |= {(flow, token): StageProcessor(self._desk, program, token, self._host) for token in mine}
        in_flight = max(service.concurrency * LOOKAHEAD, 256)
        await self._stages.reconcile(wanted, max_in_flight=in_flight)
        if not self._subscriptions:
            assert self._server is not None
            hello = Hello(orders.instance, service.concurrency, self._host.takes_stream)
            await self._server.start(hello, self._host.answer_call)
            for subject in (rpc(service.name), rpc_at(f"service={service.name}", orders.instance)):
                self._subscriptions.append(await requests.answer(self._desk.bus, subject, self._host.answer,
                                                                 bodies=self._desk.bodies))

    async def _opened(self, service: Service, orders: Orders) -> Host:
        refuse_elsewhere(service.locked)
        if service.command:
            command = CommandService(service, setting_of(service, orders), self._on_change)
            await command.start()
            return Host(service, command, self._desk)
        env = environment.declared(service.env, orders.variables, orders.secrets, f"service/{service.name}")
        if service.user:
            self._become(account(service.user, where=f"service/{service.name}"), orders)
        os.environ.update(env)
        return await asyncio.to_thread(Host.load, service, orders, self._desk)

    def _become(self, wanted: Account, orders: Orders) -> None:
        """Before a line of its code runs. What only the agent's user can open is open by then.

        Raises DeniedError where that user could not get at what it needs.
        """
        packages = [Path(orders.packages)] if orders.packages else []
        for needed in (Path(sys.base_prefix), Path(sys.prefix), Path(orders.code), *packages):
            reachable(wanted, needed, where=f"service/{orders.instance}")
        self._desk.journal.open()
        become(wanted)

    @property
    def contract(self) -> Contract | None:
        """What the code takes and returns, as its annotations say."""
        return self._host.contract if self._host is not None else None

    @property
    def in_flight(self) -> int:
        """Messages taken and not yet settled."""
        return self._stages.in_flight + (self._server.in_flight if self._server is not None else 0)

    @property
    def program(self) -> CommandService | None:
        """The program that it keeps running, if it is one."""
        return self._host.command if self._host is not None else None

    @property
    def trouble(self) -> str:
        """Why the program does not serve."""
        return self.program.trouble if self.program is not None else ""

    async def stop(self, grace: float) -> None:
        """Answer no more calls and requests, finish those under way and the stages, end the program."""
        deadline = asyncio.get_running_loop().time() + grace
        async with asyncio.TaskGroup() as tasks:
            if self._server is not None:
                tasks.create_task(self._server.stop(grace))
            for subscription in self._subscriptions:
                tasks.create_task(subscription.close(grace))
            tasks.create_task(self._stages.stop(grace))
        await self._watchdog.stop()
        if self._host is not None:
            await self._host.close(deadline - asyncio.get_running_loop().time())


class Host:
    """The user's callable or program with all it is given; also the effects of the stages that run here."""

    def __init__(self, service: Service, handler: Handler | CommandService, desk: Desk) -> None:
        self.command = handler if isinstance(handler, CommandService) else None
        self._service = service
        self._handler = handler
        self._desk = desk
        self._slots = asyncio.Semaphore(self.command.concurrency if self.command else service.concurrency)
        self._threads = ThreadPoolExecutor(min(service.concurrency, MOST_THREADS), thread_name_prefix=service.name)
        self._config: Mapping[str, Any] = {}
        self._secrets: Mapping[str, bytes] = {}
        self._timeout = 30.0
        self._stuck = 0
        self._duration = CALL_DURATION.at(service.name)
        self._waiting = 0
        self._most_waiting = service.concurrency * MOST_WAITING
        self.takes_stream = handler.takes_stream

    @classmethod
    def load(cls, service: Service, orders: Orders, desk: Desk) -> Host:
        """Import the shipped code. Whatever the user's module raises passes through."""
        folder = Path(orders.code) if orders.code else Home(orders.home).artifact(service.code)
        try:
            function = load_callable(folder, service.source, digest=service.code,
                                     packages=Path(orders.packages) if orders.packages else None)
        except SystemExit as error:
            raise MessageError(f"the module called sys.exit({error.code!r}) when imported",
                               where=service.source) from None
        return cls(service, Handler(function), desk)

    @property
    def contract(self) -> Contract:
        """What the callable takes and returns; a program tells nothing."""
        if isinstance(self._handler, CommandService):
            return Contract()
        return Contract(schema_of(self._handler.payload_type), schema_of(self._handler.result_type))

    def configure(self, service: Service, orders: Orders) -> None:
        """Take the configuration and secrets of these orders."""
        self._config = resolve(service.config, orders.variables)
        self._secrets = orders.secrets
        self._timeout = seconds(service.timeout)
        if self.command is not None:
            self.command.configure(service, setting_of(service, orders))

    async def call(self, service: str, message: Message, idempotency_key: str, timeout: float) -> Reply:
        """Let the user's callable process the message, within its time: from when it may begin."""
        return await self._traced(message, idempotency_key, timeout)

    async def _traced(self, message: Message, key: str, timeout: float, body: AsyncIterator[bytes] | None = None, *,
                      streaming: bool = False) -> Reply:
        if self._desk.tracer is None:
            return await self._call(message, key, timeout, body, streaming=streaming)
        service = self._service.name
        with self._desk.tracer.around(message, f"call service/{service}", "server", "call", key,
                                      service=service) as traced:
            return await self._call(traced, key, timeout, body, streaming=streaming)

    async def _call(self, message: Message, idempotency_key: str, timeout: float, body: AsyncIterator[bytes] | None, *,
                    streaming: bool) -> Reply:
        service = self._service.name
        limit = min(timeout or self._timeout, self._timeout)
        async with self._slots:
            if self.command is not None:
                await self.command.ready()
            began = time.perf_counter()
            context = Context(message, service=service, config=self._config, secrets=self._secrets,
                              deadline=time.time() + limit, request=self._ask,
                              stage=idempotency_key)
            running = self._handler.handle(message, context, self._threads, body=body, streaming=streaming)
            try:
                reply = await within(limit, running)
            except TimeoutError:
                self._count_stuck()
                raise TimedOutError(f"no result within {limit:g} s", where=f"service/{service}",
                                    remedy="raise `timeout:` of the service, or see why it is slow") from None
            self._duration.observe(time.perf_counter() - began)
            return reply

    def _count_stuck(self) -> None:
        """A thread cannot be ended: when half of them hang, only a new process helps; the messages come again."""
        if self.command is not None:
            self.command.timed_out()
        if self._handler.is_async:
            return
        self._stuck += 1
        if self._stuck * 2 >= min(self._service.concurrency, MOST_THREADS):
            log.error("%d calls hang in threads that cannot be ended: this worker starts anew", self._stuck)
            asyncio.get_running_loop().call_later(1.0, _leave)

    async def reply(self, message: Message, timeout: float, body: AsyncIterator[bytes] | None = None) -> Reply:
        """Answer a call. What the callable sends besides is stored before the answer goes.

        Raises SystemUnavailableError where too many wait already.
        """
        if self._slots.locked() and self._waiting >= self._most_waiting:
            raise SystemUnavailableError("more is asked of it than it can do in time",
                                         where=f"service/{self._service.name}", retry_after=1.0)
        self._waiting += 1
        try:
            reply = await self._traced(message, message.id, timeout, body, streaming=True)
        finally:
            self._waiting -= 1
        for output in reply.outputs:
            await self._desk.store(output)
        return reply

    async def answer_call(self, asked: Asked) -> Reply:
        """Answer who asks over the instance's socket."""
        return await self.reply(asked.message, asked.timeout, asked.body)

    async def answer(self, message: Message, timeout: float) -> Message:
        """Answer who asks over the bus, and needs the body in one piece."""
        return await _in_one_piece(await self.reply(message, timeout))

    async def _ask(self, service: str, message: Message, timeout: float) -> Message:
        if service == self._service.name:
            return await self.answer(message, timeout or self._timeout)
        return await _in_one_piece(await self._desk.peers.ask(f"service={service}", message, timeout or self._timeout))

    async def send(self, target: str, message: Message, options: Mapping[str, Any], idempotency_key: str,
                   timeout: float) -> bytes | None:
        """Never asked of a service's worker: deliveries are stages of the runner."""
        raise MessageError(f"a service's worker does not deliver to {target}", where=self._service.name)

    async def callback(self, url: str, method: str, headers: Mapping[str, str], body: bytes, idempotency_key: str,
                       timeout: float, trusted: bool) -> None:
        """Never asked of a service's worker."""
        raise MessageError("a service's worker makes no callbacks", where=self._service.name)

    def log(self, level: Level, text: str, message: Message) -> None:
        """A line in this instance's log, with the message's id."""
        log.log(_LEVELS.get(level.upper(), logging.INFO), "%s [%s]", text, message.id)

    async def close(self, grace: float) -> None:
        """End the program; let the threads go: those that hang are left to the end of the process."""
        if self.command is not None:
            await self.command.stop(grace)
        self._threads.shutdown(wait=False, cancel_futures=True)


def setting_of(service: Service, orders: Orders) -> Setting:
    """Where a program runs, and what it is given."""
    home = Home(orders.home)
    known = {name: value for name, value in orders.variables.items() if name in _TOLD}
    if orders.packages:
        known["PYTHONPATH"] = orders.packages
    return Setting(folder=Path(orders.code) if orders.code else home.artifact(service.code),
                   sockets=home.run / "programs", instance=orders.instance, variables=orders.variables,
                   secrets=orders.secrets, config=resolve(service.config, orders.variables), known=known)


async def _in_one_piece(reply: Reply) -> Message:
    if reply.stream is None:
        return reply.message
    body = await gather(reply.stream, LARGEST_GATHERED, _too_large)
    return msgspec.structs.replace(reply.message, body=body)


def _too_large() -> MessageError:
    return MessageError(f"the answer has more than {LARGEST_GATHERED} bytes")


def _leave() -> None:
    sys.stderr.flush()
    os._exit(70)  # threads that hang would keep an ordinary exit waiting for ever

