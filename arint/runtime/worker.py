"""A worker process from its first line to its last: orders from the agent, a unit that does the work, a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal

from arint.bus import streams
from arint.bus.connection import Bus
from arint.bus.in_hand import InHand
from arint.errors import ArintError, ConflictError
from arint.home import Home
from arint.runtime.agent_link import AgentLink
from arint.runtime.control import Beat, Orders, State
from arint.runtime.desk import Desk
from arint.runtime.holding import Deadline
from arint.runtime.tracebacks import traceback_from_user_code
from arint.runtime.unit import Unit, make_unit

log = logging.getLogger(__name__)

GRACE = 10.0
"""Seconds for what is in flight, at SIGTERM."""
RETRY_ORDERS = 2.0


class Worker:
    """One a process. Runs until SIGTERM, SIGINT, or the agent's word to drain."""

    def __init__(self, home: Home, instance: str) -> None:
        self._home = home
        self._instance = instance
        self._state: State = "starting"
        self._error = ""
        self._desk: Desk | None = None
        self._unit: Unit | None = None
        self._orders: Orders | None = None
        self._tried = 0
        self._leave = asyncio.Event()
        self._news = asyncio.Event()
        self._grace = GRACE
        deadline = Deadline(lambda: self._drain(0.0))
        self._link = AgentLink(home.socket, instance, on_orders=self._take_orders, on_drain=self._drain,
                               on_hold=deadline.hold, beat=self._beat,
                               contract=lambda: self._unit.contract if self._unit else None)

    async def run(self) -> None:
        """Work until told to leave; then drain."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._leave.set)
        async with asyncio.TaskGroup() as tasks:
            link = tasks.create_task(self._link.run(), name="agent link")
            carry = tasks.create_task(self._carry_out(tasks), name="orders")
            await self._leave.wait()
            carry.cancel()
            await asyncio.wait([carry])
            self._state = "draining"
            self._link.hurry()
            await self._close()
            link.cancel()
            raise _Finished

    async def _take_orders(self, orders: Orders) -> None:
        self._orders = orders
        self._news.set()

    def _drain(self, grace: float) -> None:
        self._grace = grace
        self._leave.set()

    async def _carry_out(self, tasks: asyncio.TaskGroup) -> None:
        """Apply the newest orders, one set after the other; what fails for now is tried again."""
        while True:
            await self._news.wait()
            self._news.clear()
            orders = self._orders
            assert orders is not None
            try:
                await self._apply(orders, tasks)
            except Exception as error:
                self._state, self._error = "failed", _told(error)
                log.error("orders of change set %d cannot be carried out: %s", orders.change_set, self._error)  # noqa: TRY400 - told above
                asyncio.get_running_loop().call_later(RETRY_ORDERS, self._news.set)
            else:
                self._state, self._error = "ready", ""
            self._tried = orders.change_set
            self._link.hurry()

    async def _apply(self, orders: Orders, tasks: asyncio.TaskGroup) -> None:
        if self._desk is None:
            bus = await Bus.connect(orders.bus, name=orders.instance, timeout=30.0)
            try:
                await streams.ensure_core(bus, replicas=orders.bus.replicas)
            except BaseException:
                await bus.close()
                raise
            self._desk = Desk(bus, orders, await self._take_in_hand(bus))
        self._desk.change_set = orders.change_set
        runs = orders.service.name if orders.service is not None else f"arint-{orders.source or orders.role}"
        await self._desk.trace(orders.traces, runs)
        if self._unit is None:
            self._unit = make_unit(orders, self._desk, tasks, self._link.hurry)
        await self._unit.apply(orders)

    async def _take_in_hand(self, bus: Bus) -> InHand | None:
        """Give back to the broker what the process before this one died with; it is delivered again at once."""
        try:
            in_hand = InHand(self._home.in_hand_file(self._instance))
        except (ConflictError, OSError) as error:
            log.warning("what is in hand is not remembered: %s", error)
            return None
        for reply in in_hand.left:
            bus.publish(reply.decode(), b"-NAK")
        if in_hand.left:
            log.info("%d messages that the process before this one had in hand are given back", len(in_hand.left))
        in_hand.given_back()
        return in_hand

    async def _close(self) -> None:
        if self._unit is not None:
            with contextlib.suppress(Exception):
                await self._unit.stop(self._grace)
        if self._desk is not None:
            with contextlib.suppress(Exception):
                await self._desk.close()
            await self._desk.bus.close()

    def _beat(self) -> Beat:
        if self._desk is None or self._unit is None:
            return Beat(state=self._state, change_set=self._tried, error=self._error)
        program = self._unit.program
        trouble = self._unit.trouble if self._state == "ready" else ""
        return Beat(state="failed" if trouble else self._state, change_set=self._tried, error=trouble or self._error,
                    restarts=program.ends if program is not None else 0,
                    last_end=program.last_end if program is not None else "", processed=self._desk.processed,
                    failed=self._desk.failed, dead=self._desk.dead, accepted=self._desk.accepted,
                    in_flight=self._unit.in_flight, circuits=self._unit.circuits)


class _Finished(Exception):
    """Ends the task group: all is drained."""


async def work(home: Home, instance: str) -> None:
    """Run a worker to its end."""
    try:
        await Worker(home, instance).run()
    except* _Finished:
        log.info("drained")


def _told(error: Exception) -> str:
    """An error of ours in its own words; a user's with its traceback, without our frames."""
    if isinstance(error, ArintError):
        return str(error)
    return traceback_from_user_code(error)[-8000:]
