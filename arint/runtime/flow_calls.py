"""A whole flow for one caller who waits: stage after stage in memory, no retries; what it sends to others is stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from arint.answers import STATUS
from arint.calls.server import Asked
from arint.errors import SystemUnavailableError
from arint.flows.compile import START, Program
from arint.flows.run import StageResult, on_failure, run_stage
from arint.flows.state import Effects, Level, Output, Reply
from arint.message import Message
from arint.meters.families import STAGE_ATTEMPTS, STAGE_DURATION
from arint.plugins import FullError
from arint.runtime.desk import Desk
from arint.runtime.processor import failure_of, windows
from arint.runtime.sinks import Outlet
from arint.runtime.within import within

_HELD = frozenset({"aggregate", "delay", "throttle"})
"""Steps for which messages wait in the bus, however long."""


class FlowCalls:
    """Runs flows for callers. `update` tells which there are."""

    def __init__(self, desk: Desk, effects: Effects, outlets: Mapping[str, Outlet]) -> None:
        self._desk = desk
        self._effects = effects
        self._outlets = outlets
        self._programs: Mapping[str, Program] = {}

    def update(self, programs: Mapping[str, Program]) -> None:
        """From now on, these flows."""
        self._programs = programs

    async def answer(self, asked: Asked) -> Reply:
        """The message as it comes out at the flow's end. Raises what a stage raises that no `catch` is around.

        Where a step waits, or makes several messages of one, the answer ends: what goes on from there is stored.
        """
        program = self._programs.get(asked.target)
        if program is None:  # orders that the listener has already are on their way here
            raise SystemUnavailableError("this runner does not know the flow yet", where=asked.target, retry_after=1.0)
        message = asked.message
        message.change_set = self._desk.change_set
        effects = _Immediate(self._effects, self._desk, self._outlets, time.monotonic() + asked.timeout)
        try:
            return await within(asked.timeout, self._run(program, message, effects))
        except FullError as error:
            raise SystemUnavailableError(str(error), where=asked.target, retry_after=error.retry_after) from None

    async def answer_message(self, target: str, message: Message, timeout: float) -> Message:
        """As `answer`, for who asks over the bus."""
        return (await self.answer(Asked(target, message, timeout))).message

    async def _run(self, program: Program, message: Message, effects: _Immediate) -> Reply:
        given = Output(program.flow, START, message)
        while True:
            if program.stage(given.stage).kind in _HELD:
                await self._store([given])
                return Reply(_accepted(given.message))
            result = await self._stage(program, given, effects)
            if isinstance(result, Output):  # the `catch` around what failed
                given = result
            elif result.fork is not None:
                await self._store(result.outputs)
                async with self._desk.forks:
                    for window in windows(result.fork.outputs):
                        await self._store(window)
                return Reply(_accepted(result.message))
            elif result.ended:
                await self._store(result.outputs)
                return Reply(result.message, returned=result.outcome != "filtered")
            else:
                *others, given = result.outputs
                await self._store(others)

    async def _stage(self, program: Program, given: Output, effects: _Immediate) -> StageResult | Output:
        try:
            return await self._watched(program, given, effects)
        except FullError:
            raise
        except Exception as error:
            caught = on_failure(program, given.stage, given.message, failure_of(error, program.where(given.stage)))
            if caught is None:
                raise
            return caught

    async def _watched(self, program: Program, given: Output, effects: _Immediate) -> StageResult:
        """Run it, counted and traced as the stages of stored messages are."""
        flow, stage, message = program.flow, given.stage, given.message
        began, outcome = time.perf_counter(), "failed"
        try:
            if self._desk.tracer is None:
                result = await run_stage(program, stage, message, effects)
            else:
                with self._desk.tracer.around(message, f"{flow} {stage}", "internal", flow, stage, flow=flow,
                                              stage=stage) as traced:
                    result = await run_stage(program, stage, traced, effects)
            outcome = result.outcome
            return result
        finally:
            STAGE_ATTEMPTS.at(flow, stage, outcome).add()
            STAGE_DURATION.at(flow, stage).observe(time.perf_counter() - began)

    async def _store(self, outputs: Sequence[Output]) -> None:
        """What a stage sent to flows and topics, before anything goes on."""
        if outputs:
            await asyncio.gather(*(self._desk.store(output) for output in outputs))


def _accepted(message: Message) -> Message:
    """It goes on without its caller."""
    return msgspec.structs.replace(message, headers={STATUS: "202", **message.headers})


class _Immediate:
    """What one run asks of the world, within its deadline (on the monotonic clock)."""

    def __init__(self, effects: Effects, desk: Desk, outlets: Mapping[str, Outlet], deadline: float) -> None:
        self._effects = effects
        self._desk = desk
        self._outlets = outlets
        self._deadline = deadline

    async def call(self, service: str, message: Message, idempotency_key: str, timeout: float) -> Reply:
        """Ask an instance of the service; it stores itself what it sends."""
        return await self._desk.peers.ask(f"service={service}", message, self._left(timeout))

    async def send(self, target: str, message: Message, options: Mapping[str, Any], idempotency_key: str,
                   timeout: float) -> bytes | None:
        """Deliver, unless the circuit of the connection is open; a system that is away opens it."""
        outlet = self._outlets.get(target.partition("/")[2])
        if outlet is not None and not outlet.closed.is_set():
            raise SystemUnavailableError("the system is away", where=target, retry_after=outlet.probed_in)
        try:
            return await self._effects.send(target, message, options, idempotency_key, self._left(timeout))
        except SystemUnavailableError as error:
            if outlet is not None:
                outlet.failed(error)
            raise

    async def callback(self, url: str, method: str, headers: Mapping[str, str], body: bytes, idempotency_key: str,
                       timeout: float, trusted: bool) -> None:
        """Tell whoever is to be told."""
        await self._effects.callback(url, method, headers, body, idempotency_key, self._left(timeout), trusted)

    def log(self, level: Level, text: str, message: Message) -> None:
        """As in any run."""
        self._effects.log(level, text, message)

    def _left(self, timeout: float) -> float:
        left = max(self._deadline - time.monotonic(), 0.001)
        return min(timeout, left) if timeout else left


