"""A sample through a flow, in memory: real services, recorded deliveries, the message after each step."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from arint.errors import ArintError, NotFoundError
from arint.flows import Effects, Output, Program, Reply, State, compile_flow, implicit_program, on_failure, run_stage
from arint.message import Failure, Message
from arint.operations.history import applied
from arint.operations.messages import body_text
from arint.operations.progress import Progress, Step, silent
from arint.resources.kinds import Flow, Resource, Service

if TYPE_CHECKING:
    from arint.operations.connect import Link

_MOST_STAGES = 1000
_log = logging.getLogger("arint.flow.test")


class FlowTestArguments(msgspec.Struct, frozen=True, kw_only=True):
    """What to send through which flow. `paths` are manifests; none: what is applied.

    `answers` by target (`service/approve`, `connection/crm`): the body that stands for its answer. Services without
    one are really run; nothing is ever really sent.
    """

    flow: str
    body: bytes
    headers: dict[str, str] = {}
    content_type: str = "application/json"
    paths: tuple[Path, ...] = ()
    answers: dict[str, bytes] = {}


class StepResult(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The message after one step. A body that is not UTF-8 stands in `body_base64`."""

    flow: str
    stage: str
    step: str
    body: str | None = None
    body_base64: str | None = None
    headers: dict[str, str] = {}
    variables: dict[str, Any] = {}


class DeliveryResult(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What would have been sent, and to whom."""

    target: str
    body: str | None = None
    body_base64: str | None = None
    options: dict[str, Any] = {}


class FlowTestResult(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Everything that happened; `state` is `done`, or `dead` with the error."""

    flow: str
    state: str
    steps: tuple[StepResult, ...]
    deliveries: tuple[DeliveryResult, ...]
    log: tuple[str, ...] = ()
    error_kind: str = ""
    error: str = ""
    where: str = ""


async def try_flow(link: Link, arguments: FlowTestArguments, progress: Progress = silent) -> FlowTestResult:
    """Send a sample through a flow. Raises NotFoundError, or NotValidError for manifests that are not right."""
    resources, folders = await _resources(link, arguments)
    flows = {one.name: one for one in resources.values() if isinstance(one, Flow)}
    if arguments.flow not in flows:
        from arint.resources.problems import nearest

        raise NotFoundError(f"there is no flow {arguments.flow!r}", remedy=nearest(arguments.flow, flows))
    services = {one.name: one for one in resources.values() if isinstance(one, Service)}
    run = _Run(flows, _Recorder(services, folders, arguments.answers), progress)
    message = Message.new(arguments.body, headers=arguments.headers, content_type=arguments.content_type,
                          channel="flow-test")
    return await run.whole(arguments.flow, message)


async def _resources(link: Link, arguments: FlowTestArguments) -> tuple[dict[str, Resource], dict[str, Path]]:
    """The resources by key, and for each service the folder of its code."""
    if arguments.paths:
        from arint.resources.manifests import load

        declared = load(arguments.paths)
        return ({item.key: item.resource for item in declared},
                {item.resource.name: item.folder for item in declared if isinstance(item.resource, Service)})
    _, resources = await applied(link)
    return resources, {one.name: link.home.artifact(one.code) for one in resources.values()
                       if isinstance(one, Service)}


class _Run:
    """Runs stage after stage, as the workers would, without storing between them."""

    def __init__(self, flows: Mapping[str, Flow], recorder: _Recorder, progress: Progress) -> None:
        self._flows = flows
        self._recorder: Effects = recorder
        self._record = recorder
        self._progress = progress
        self._steps: list[StepResult] = []
        self._programs: dict[str, Program] = {}

    async def whole(self, flow: str, message: Message) -> FlowTestResult:
        waiting = [Output(flow, "start", message)]
        failure: Failure | None = None
        for _ in range(_MOST_STAGES):
            if not waiting:
                break
            following, failed = await self._stage(waiting.pop(0))
            waiting += following
            failure = failure or failed
        return FlowTestResult(
            flow=flow, state="dead" if failure else "done", steps=tuple(self._steps),
            deliveries=tuple(self._record.deliveries), log=tuple(self._record.lines),
            error_kind=failure.kind if failure else "", error=failure.message if failure else "",
            where=failure.where if failure else "")

    async def _stage(self, given: Output) -> tuple[list[Output], Failure | None]:
        """What a stage stores next, and why it failed for good."""
        if given.flow.startswith("topic="):
            self._record.delivered(given.label, given.message.body, {})
            return [], None
        self._progress(Step(given.label))
        program = self._program(given.flow)
        try:
            result = await run_stage(program, given.stage, given.message, self._recorder,
                                     trace=partial(self._trace, given))
        except Exception as error:  # whatever user code raises is a result here
            failure = _failure(error, given.stage)
            caught = on_failure(program, given.stage, given.message, failure)
            return ([caught], None) if caught else ([], failure)
        return list(result.outputs), None

    def _program(self, flow: str) -> Program:
        if flow not in self._programs:
            self._programs[flow] = (compile_flow(self._flows[flow], self._flows) if flow in self._flows
                                    else implicit_program(flow))
        return self._programs[flow]

    def _trace(self, given: Output, path: str, key: str, name: str, state: State) -> None:
        step = f"{path}-{key} {name}".rstrip()
        message = state.message()
        text, coded = body_text(message.body)
        self._steps.append(StepResult(flow=given.flow, stage=given.stage, step=step, body=text, body_base64=coded,
                                      headers=message.headers, variables=message.variables))


class _Recorder:
    """The world outside: services are run or answered for, deliveries are written down."""

    def __init__(self, services: Mapping[str, Service], folders: Mapping[str, Path],
                 answers: Mapping[str, bytes]) -> None:
        self._services = services
        self._folders = folders
        self._answers = answers
        self.deliveries: list[DeliveryResult] = []
        self.lines: list[str] = []

    async def call(self, service: str, message: Message, idempotency_key: str, timeout: float) -> Reply:
        """The answer given for it, or that of its own code."""
        answer = self._answers.get(f"service/{service}")
        if answer is not None:
            return Reply(msgspec.structs.replace(message, body=answer))
        return await self._really(self._services[service], message, idempotency_key)

    async def _really(self, service: Service, message: Message, key: str) -> Reply:
        from arint.runtime.loader import load_callable
        from arint.sdk import Context, Handler

        handler = Handler(load_callable(self._folders[service.name], service.source, digest=service.code))
        context = Context(message, service=service.name, stage=key, config=service.config,
                          secrets={name: self._answers.get(f"secret/{name}", b"") for name in service.secrets},
                          log=_log)
        return await handler.handle(message, context)

    async def send(self, target: str, message: Message, options: Mapping[str, Any], idempotency_key: str,
                   timeout: float) -> bytes | None:
        """Write it down."""
        self.delivered(target, message.body, dict(options))
        return self._answers.get(target)

    async def callback(self, url: str, method: str, headers: Mapping[str, str], body: bytes, idempotency_key: str,
                       timeout: float) -> None:
        """Write it down."""
        self.delivered(f"{method} {url}", body, {"headers": dict(headers)} if headers else {})

    def log(self, level: str, text: str, message: Message) -> None:
        """Keep the line."""
        self.lines.append(f"{level}: {text}")

    def delivered(self, target: str, body: bytes, options: dict[str, Any]) -> None:
        """Write down what would have been sent."""
        text, coded = body_text(body)
        self.deliveries.append(DeliveryResult(target=target, body=text, body_base64=coded, options=options))


def _failure(error: Exception, stage: str) -> Failure:
    from arint.flows.run import failed_step

    kind = error.title if isinstance(error, ArintError) else type(error).__name__
    return Failure(kind=kind, message=str(error), where=failed_step(error) or stage)
