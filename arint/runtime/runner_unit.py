"""The role `runner`: every stage of every flow but service calls, the connections, and the keeper of the streams."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from arint.bus import requests
from arint.bus.connection import Subscription
from arint.bus.keeper import Keeper, Watched
from arint.bus.subjects import rpc_at, rpc_of
from arint.bus.sweep import Sweeper
from arint.calls.frames import Hello
from arint.calls.server import CallServer
from arint.calls.sockets import name_of
from arint.errors import MessageError, NotFoundError
from arint.flows.compile import START, Program, Stage
from arint.flows.state import Level, Reply
from arint.flows.steps.forking import Split
from arint.flows.steps.waiting import Delay
from arint.message import Message
from arint.plugins import Delivery
from arint.resources.quantities import seconds
from arint.runtime.callback import Caller
from arint.runtime.control import Orders
from arint.runtime.desk import Desk
from arint.runtime.flow_calls import FlowCalls
from arint.runtime.gathering import Gathered, Gathering
from arint.runtime.orphans import bury_orphans
from arint.runtime.processor import StageProcessor
from arint.runtime.programs import Programs
from arint.runtime.sinks import Outlet, options_of, same_outlet
from arint.runtime.stages import Key, Stages
from arint.runtime.turns import Pacer, Turn, delayed, most_held
from arint.runtime.turnstile import Entrance, Turnstile
from arint.runtime.waiting import count_waiting

log = logging.getLogger(__name__)
_LEVELS = logging.getLevelNamesMapping()

IN_FLIGHT = 512
"""Messages at once in one stage; a sink bounds its own concurrency."""
SPLITTING = 16
"""The same where a message may become very many."""
STAGE_TIMEOUT = 300.0
"""Seconds that a delivery may take at the most, whatever its connection says."""


class RunnerUnit:
    """Keeps consumers, outlets and streams in step with the orders."""

    trouble = ""
    program = None
    contract = None

    def __init__(self, desk: Desk, tasks: asyncio.TaskGroup, on_change: Callable[[], None]) -> None:
        self._desk = desk
        self._tasks = tasks
        self._on_change = on_change
        self._stages = Stages(desk)
        self._outlets: dict[str, Outlet] = {}
        self._watched: list[Watched] = []
        self._pacers: dict[Key, Pacer] = {}
        self._gathered: dict[Key, Gathered] = {}
        self._turnstiles: dict[Key, Turnstile] = {}
        self._owners: list[Gathering | Entrance] = []
        self._effects = RunnerEffects(self._outlets, desk)
        self._calls = FlowCalls(desk, self._effects, self._outlets)
        self._server: CallServer | None = None
        self._subscriptions: dict[str, tuple[Subscription, Subscription]] = {}
        """By flow: that of all runners, and this one's own."""
        self._keeper = tasks.create_task(Keeper(desk.bus, lambda: self._watched).run(), name="keeper")
        self._counting = tasks.create_task(count_waiting(desk.bus, lambda: self._watched), name="waiting")
        self._sweeper = tasks.create_task(Sweeper(desk.bus).run(), name="sweeper")

    async def apply(self, orders: Orders) -> None:
        """From now on these flows and connections."""
        programs = Programs(orders)
        for flow in programs.all:
            await programs.ensure(self._desk, flow)
        await self._replace_outlets(orders)
        wanted: dict[Key, StageProcessor] = {}
        for flow, program in programs.all.items():
            for token, stage in program.stages.items():
                if stage.target.startswith("service/"):
                    continue
                wanted[flow, token] = self._processor(program, stage)
        before, self._owners = self._owners, [one for one in wanted.values() if isinstance(one, Gathering | Entrance)]
        try:
            await self._stages.reconcile(wanted, max_in_flight=IN_FLIGHT)
        finally:
            for owner in before:
                owner.retire()
        kept: dict[Key, Any]
        for kept in (self._gathered, self._turnstiles, self._pacers):
            for key in kept.keys() - wanted.keys():
                del kept[key]
        self._watched = programs.watched()
        await self._answer_calls(orders, programs)
        for flow, program in programs.all.items():
            await bury_orphans(self._desk, flow, frozenset(program.stages))

    def _processor(self, program: Program, stage: Stage) -> StageProcessor:
        kind, _, name = stage.target.partition("/")
        if program.order is not None and stage.token == START:
            turnstile = self._turnstiles.setdefault((program.flow, stage.token), Turnstile(program.flow))
            return Entrance(self._desk, program, stage.token, self._effects, turnstile=turnstile, tasks=self._tasks)
        if stage.kind == "aggregate":
            gathered = self._gathered.setdefault((program.flow, stage.token), Gathered())
            return Gathering(self._desk, program, stage.token, self._effects, gathered=gathered, tasks=self._tasks)
        turn, in_flight = self._turn(program, stage)
        return StageProcessor(self._desk, program, stage.token, self._effects, timeout=STAGE_TIMEOUT, turn=turn,
                              outlet=self._outlets.get(name) if kind == "connection" else None, in_flight=in_flight)

    def _turn(self, program: Program, stage: Stage) -> tuple[Turn | None, int]:
        """When the stage's messages may be worked at, and how many are taken at once."""
        if (pace := program.paces.get(stage.token)) is not None:
            pacer = self._pacers.setdefault((program.flow, stage.token), Pacer())
            return pacer.turn_of(pace), most_held(pace, IN_FLIGHT)
        step = program.instructions[stage.at].step
        if isinstance(step, Delay):
            return delayed(step), 0
        return None, SPLITTING if isinstance(step, Split) else 0

    async def _answer_calls(self, orders: Orders, programs: Programs) -> None:
        """Flows may be called as a whole: over this runner's socket, or from another node over the bus."""
        self._calls.update(programs.all | programs.apis)
        if self._server is None:
            self._server = CallServer(self._desk.peers.sockets, name_of("runner", orders.instance))
            await self._server.start(Hello(orders.instance, IN_FLIGHT), self._calls.answer)
        flows = {flow.name for flow in orders.flows} | programs.apis.keys()
        for gone in [name for name in self._subscriptions if name not in flows]:
            for subscription in self._subscriptions.pop(gone):
                await subscription.close(0.0)
        for name in flows - self._subscriptions.keys():
            answer, bodies = partial(self._calls.answer_message, name), self._desk.bodies
            self._subscriptions[name] = (
                await requests.answer(self._desk.bus, rpc_of(name), answer, bodies=bodies),
                await requests.answer(self._desk.bus, rpc_at(name, orders.instance), answer, bodies=bodies))

    async def _replace_outlets(self, orders: Orders) -> None:
        """Open anew what has changed; a sink in use keeps its connections where it has not."""
        declared = {connection.name: connection for connection in orders.connections}
        for name, outlet in list(self._outlets.items()):
            if name not in declared or not same_outlet(outlet.connection, declared[name]) \
                    or (outlet.secrets, outlet.variables) != (orders.secrets, orders.variables):
                await self._outlets.pop(name).close()
        for name, connection in declared.items():
            if name not in self._outlets:
                self._outlets[name] = Outlet(connection, secrets=orders.secrets, variables=orders.variables,
                                             tasks=self._tasks, on_change=self._circuit_changed)

    def _circuit_changed(self) -> None:
        self._stages.heed_circuits()
        self._on_change()

    @property
    def in_flight(self) -> int:
        """Messages taken and not yet settled."""
        return self._stages.in_flight + (self._server.in_flight if self._server is not None else 0)

    @property
    def circuits(self) -> dict[str, float]:
        """Open circuits."""
        return {name: outlet.open_since for name, outlet in self._outlets.items() if outlet.open_since}

    async def stop(self, grace: float) -> None:
        """Finish what is in flight; let go of the connections."""
        self._keeper.cancel()
        for owner in self._owners:
            owner.close()
        self._counting.cancel()
        self._sweeper.cancel()
        async with asyncio.TaskGroup() as tasks:
            if self._server is not None:
                tasks.create_task(self._server.stop(grace))
            for subscription in (one for both in self._subscriptions.values() for one in both):
                tasks.create_task(subscription.close(grace))
            tasks.create_task(self._stages.stop(grace))
        await asyncio.gather(*(outlet.close() for outlet in self._outlets.values()))
        await self._effects.close()


class RunnerEffects:
    """What flows ask of the world, as the runner does it: deliveries, callbacks and log lines."""

    def __init__(self, outlets: Mapping[str, Outlet], desk: Desk) -> None:
        self._outlets = outlets
        self._desk = desk
        self._caller = Caller()

    async def call(self, service: str, message: Message, idempotency_key: str, timeout: float) -> Reply:
        """Never asked of a runner: a call is a stage of the service's own workers."""
        raise MessageError(f"the runner does not run service/{service}", where="runner")

    async def send(self, target: str, message: Message, options: Mapping[str, Any], idempotency_key: str,
                   timeout: float) -> bytes | None:
        """Deliver through the connection's sink."""
        name = target.partition("/")[2]
        outlet = self._outlets.get(name)
        if outlet is None:
            raise NotFoundError(f"there is no {target} any more", where="send", remedy="declare it and replay")
        chosen = options_of(outlet.connection.transport, options)
        given = getattr(chosen, "timeout", None)
        limit = timeout or (seconds(given) if given else 30.0)
        if self._desk.tracer is None:
            return await outlet.send(Delivery(message, parsed(message), chosen, idempotency_key, limit))
        with self._desk.tracer.around(message, f"send {target}", "client", "send", connection=name) as traced:
            return await outlet.send(Delivery(traced, parsed(message), chosen, idempotency_key, limit))

    async def callback(self, url: str, method: str, headers: Mapping[str, str], body: bytes, idempotency_key: str,
                       timeout: float, trusted: bool) -> None:
        """Tell the caller by HTTP. The step has put the stage's `traceparent` into the headers."""
        limit = timeout or 10.0
        if self._desk.tracer is None:
            await self._caller.tell(url, method, headers, body, idempotency_key, limit, trusted)
            return
        message = Message(id=idempotency_key.partition("-")[0], body=body, traceparent=headers.get("traceparent", ""))
        with self._desk.tracer.around(message, "callback", "client", "callback", method=method) as traced:
            known = {**headers, "traceparent": traced.traceparent} if traced.traceparent else headers
            await self._caller.tell(url, method, known, body, idempotency_key, limit, trusted)

    def log(self, level: Level, text: str, message: Message) -> None:
        """A line in this runner's log, with the message's id."""
        log.log(_LEVELS.get(level.upper(), logging.INFO), "%s [%s]", text, message.id)

    async def close(self) -> None:
        """Let go of the client."""
        await self._caller.close()


def parsed(message: Message) -> Any:
    """The body as JSON where it is that, else the bytes: not every sink wants JSON."""
    import msgspec

    if "json" in message.content_type:
        try:
            return msgspec.json.decode(message.body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return message.body
    return message.body
