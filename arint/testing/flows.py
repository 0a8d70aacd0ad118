"""A service or a flow in memory: what it calls and sends is recorded, or faked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from arint.bus.retry import ceiling
from arint.errors import ArintError, NotFoundError, RejectedError, SystemUnavailableError, UsageError
from arint.flows.compile import START, Program, compile_flow
from arint.flows.run import Output, StageResult, failed_step, on_failure, run_stage
from arint.flows.state import State
from arint.flows.steps.aggregating import Aggregate
from arint.flows.steps.waiting import Delay
from arint.message import Failure, Message
from arint.resources.kinds import Flow, Service
from arint.resources.quantities import seconds
from arint.sdk import Context, Handler
from arint.testing.clock import Clock
from arint.testing.code import ServiceCode
from arint.testing.fakes import Fake, Fakes, RecordingEffects, time_of
from arint.testing.gatherer import Gatherer
from arint.testing.results import FlowRun, ServiceResult, StepRecord, Wait, sent_of

T = TypeVar("T")


def message_of(payload: Any, **known: Any) -> Message:
    """A new message: `payload` may be a Message, bytes, or what is written as JSON. `known` are further fields."""
    if isinstance(payload, Message):
        return msgspec.structs.replace(payload, **known)
    body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
    return Message.new(body, **known)


def run_service(function: Callable[..., Any], payload: Any = b"", *, config: Mapping[str, Any] | None = None,
                secrets: Mapping[str, str | bytes] | None = None, services: Mapping[str, Fake] | None = None,
                deadline: float = 0.0, clock: Clock | None = None, **known: Any) -> ServiceResult:
    """Give one message to a service and return what comes of it; raises what the service raises.

    `services` are the fakes for `ctx.call`; `known` are further fields of the message, such as `headers`. `clock`
    tells the service what time it is.
    """
    message = message_of(payload, **_created(clock, payload), **known)
    name = getattr(function, "__name__", "service")
    context = Context(message, service=name, config=config, deadline=deadline, clock=time_of(clock),
                      request=Fakes(services or {}, clock=clock).request,
                      secrets={key: value.encode() if isinstance(value, str) else value
                               for key, value in (secrets or {}).items()})
    reply = waited(Handler(function).handle(message, context))
    return ServiceResult(reply.message, tuple(map(sent_of, reply.outputs)))


class FlowTest:
    """A flow in memory. `flow` is a Flow, or the path of a manifest (file or folder) that declares it.

    `services` and `connections` say what stands for them, by name. Services of the manifest are run themselves if
    nothing else stands for them; connections take everything and answer nothing. Failed stages are tried as often as
    `retry` says, without waiting. With a `clock` they wait on it, for as long as `backoff` says at the most, and for a
    system that is away (SystemUnavailableError) until `unavailable_for` ends; services have their deadlines.
    """

    def __init__(self, flow: Flow | Path | str, *, name: str = "", services: Mapping[str, Fake] | None = None,
                 connections: Mapping[str, Fake] | None = None, flows: Mapping[str, Flow] | None = None,
                 config: Mapping[str, Mapping[str, Any]] | None = None,
                 secrets: Mapping[str, str | bytes] | None = None, clock: Clock | None = None) -> None:
        self.clock = clock
        self.services: dict[str, Fake] = {}
        self.config: dict[str, Mapping[str, Any]] = {}
        self.timeouts: dict[str, float] = {}
        known = dict(flows or {})
        if not isinstance(flow, Flow):
            flow = self._from_manifest(Path(flow), name, known)
        self.flow = flow
        self.services |= services or {}
        self.config |= config or {}
        self.connections: dict[str, Fake] = dict(connections or {})
        self.secrets = {key: value.encode() if isinstance(value, str) else value
                        for key, value in (secrets or {}).items()}
        self.once = False
        """Is every stage tried once only, as in an immediate call?"""
        self.program: Program = compile_flow(flow, known)

    def run(self, payload: Any = b"", **known: Any) -> FlowRun:
        """Let one message go through; `known` are further fields of the message, such as `headers`."""
        return waited(self.run_async(payload, **known))

    async def run_async(self, payload: Any = b"", **known: Any) -> FlowRun:
        """As `run`, for tests that are coroutines."""
        return await self._through([message_of(payload, **_created(self.clock, payload), **known)])

    def run_all(self, payloads: Iterable[Any], **known: Any) -> FlowRun:
        """Let several messages go through, one after the other, as far as each comes."""
        return waited(self.run_all_async(payloads, **known))

    async def run_all_async(self, payloads: Iterable[Any], **known: Any) -> FlowRun:
        """As `run_all`, for tests that are coroutines."""
        return await self._through([message_of(payload, **_created(self.clock, payload), **known)
                                    for payload in payloads])

    async def _through(self, messages: Sequence[Message]) -> FlowRun:
        run = FlowRun(messages[0], [], [], [], ended=[], dead=[], delays=[], entered=[], waits=[])
        effects = RecordingEffects(self, run)
        gatherers = {token: Gatherer(self.program, token, effects, time_of(self.clock))
                     for token, stage in self.program.stages.items() if stage.kind == Aggregate.key}
        try:
            for message in messages:
                await self._follow(deque([Output(self.flow.name, START, message)]), effects, run, gatherers)
            while late := self._late(gatherers, run):
                await self._follow(late, effects, run, gatherers)
        finally:
            await effects.close()
        return run

    def _late(self, gatherers: Mapping[str, Gatherer], run: FlowRun) -> deque[Output]:
        """Nothing else is left to do: what waits in groups goes on when their time is over."""
        late: deque[Output] = deque()
        for stage, gatherer in gatherers.items():
            if (left := gatherer.left) > 0:
                self._wait(stage, left, run)
            late.extend(gatherer.late())
        return late

    async def _follow(self, waiting: deque[Output], effects: RecordingEffects, run: FlowRun,
                      gatherers: Mapping[str, Gatherer]) -> None:
        """Run the stages of these inputs, and of all that comes of them."""
        while waiting:
            given = waiting.popleft()
            if given.stage in gatherers:
                try:
                    waiting.extend(gatherers[given.stage].add(given.message))
                except Exception as error:
                    waiting.extend(self._failed(given, _failure_of(error, self.program.where(given.stage)), run))
            else:
                waiting.extend(await self._stage(given, effects, run))

    def _failed(self, given: Output, failure: Failure, run: FlowRun) -> Iterable[Output]:
        caught = on_failure(self.program, given.stage, given.message, failure)
        if caught is None:
            self._died(given, failure, run)
        return [caught] if caught else []

    async def _stage(self, given: Output, effects: RecordingEffects, run: FlowRun) -> Iterable[Output]:
        """Run a stage to its end; returns the inputs of what comes next."""
        run.entered.append((given.stage, given.message))
        outcome = await self._attempts(given, effects, run)
        if isinstance(outcome, Failure):
            return self._failed(given, outcome, run)
        run.filtered += outcome.outcome == "filtered"
        if outcome.ended and outcome.outcome == "done" and outcome.fork is None:
            run.ended.append(outcome.message)
        if run.failure is None:
            run.message = outcome.message
        own = None if outcome.ended or outcome.fork is not None else outcome.outputs[-1]
        run.sent += [sent_of(output) for output in outcome.outputs if output is not own]
        return outcome.fork.outputs if outcome.fork is not None else [own] if own is not None else []

    def _died(self, given: Output, failure: Failure, run: FlowRun) -> None:
        run.dead.append(msgspec.structs.replace(given.message, failure=failure))
        if run.failure is None:
            run.message, run.failure, run.failed_in = given.message, failure, given.stage

    async def _attempts(self, given: Output, effects: RecordingEffects, run: FlowRun) -> StageResult | Failure:
        retry, attempt, away = self.program.retry(given.stage), 1, _Away()
        while True:
            message = msgspec.structs.replace(given.message, attempt=attempt)
            before = len(run.steps)
            try:
                self._turn(given.stage, message, effects, run)
                return await run_stage(self.program, given.stage, message, effects, trace=_tracer(given.stage, run))
            except Exception as error:
                run.error = error
                if self.once:
                    return _failure_of(error, self.program.where(given.stage))
                if isinstance(error, SystemUnavailableError) and self.clock is not None:
                    if away.waited >= seconds(self.program.unavailable_for):
                        return _failure_of(error, self.program.where(given.stage))
                    self._wait(given.stage, away.next(error), run)
                elif isinstance(error, RejectedError) or attempt >= retry.attempts:
                    return _failure_of(error, self.program.where(given.stage))
                else:
                    self._wait(given.stage, ceiling(attempt, retry.backoff), run)
                    attempt += 1
                del run.steps[before:]

    def _wait(self, stage: str, seconds: float, run: FlowRun) -> None:
        if self.clock is not None:
            self.clock.advance(seconds)
            run.waits.append(Wait(stage, seconds))

    def _turn(self, stage: str, message: Message, effects: RecordingEffects, run: FlowRun) -> None:
        """No test waits; a `delay` tells for how long it would have been, and moves the clock where there is one."""
        step = self.program.instructions[self.program.stage(stage).at].step
        if isinstance(step, Delay) and message.attempt == 1:
            now = time_of(self.clock)()
            left = max(step.due(State(message, self.flow.name, stage, effects), now) - now, 0.0)
            run.delays.append(left)
            self._wait(stage, left, run)

    def _from_manifest(self, path: Path, name: str, known: dict[str, Flow]) -> Flow:
        from arint.resources.manifests import load

        declared = load([path])
        flows = {item.resource.name: item.resource for item in declared if isinstance(item.resource, Flow)}
        for item in declared:
            if isinstance(item.resource, Service):
                self.timeouts[item.resource.name] = seconds(item.resource.timeout)
                self.services[item.resource.name] = ServiceCode(item.folder, item.resource)
                self.config[item.resource.name] = item.resource.config
        known |= flows
        if name in flows:
            return flows[name]
        if name:
            raise NotFoundError(f"there is no flow {name}", where=str(path), remedy=f"flows: {', '.join(flows)}")
        if len(flows) != 1:
            raise UsageError(f"{len(flows)} flows are declared", where=str(path), remedy="say which: name=…")
        return next(iter(flows.values()))


class _Away:
    """How long a system has been away for a stage: asked again after 1 s, then 2, at most each minute."""

    def __init__(self) -> None:
        self.waited = 0.0
        self._pause = 1.0

    def next(self, error: SystemUnavailableError) -> float:
        """Seconds until it is asked again."""
        pause = error.retry_after or self._pause
        self._pause = min(2 * self._pause, 60.0)
        self.waited += pause
        return pause


def _created(clock: Clock | None, payload: Any) -> dict[str, float]:
    """A message that the test makes is made at the clock's time."""
    return {} if clock is None or isinstance(payload, Message) else {"created": clock.time()}


def _tracer(stage: str, run: FlowRun) -> Callable[[str, str, str, State], None]:
    def record(path: str, key: str, name: str, state: State) -> None:
        run.steps.append(StepRecord(path, key, name, stage, state.message()))

    return record


def _failure_of(error: Exception, where: str) -> Failure:
    kind = error.title if isinstance(error, ArintError) else type(error).__name__
    return Failure(kind=kind, message=str(error), where=failed_step(error) or where)


def waited(work: Coroutine[Any, Any, T]) -> T:
    """Its result, also from within a running loop (then on a loop of its own, in a thread)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
