"""A sample through a flow, in memory: real services, recorded deliveries, the message after each step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from arint.errors import ArintError, NotFoundError
from arint.message import Message
from arint.operations.history import applied
from arint.operations.messages import body_text
from arint.operations.progress import Progress, Step, silent
from arint.operations.requiring import installed_for
from arint.resources.kinds import Flow, Resource, Service

if TYPE_CHECKING:
    from arint.operations.connect import Link
    from arint.testing import Clock, FlowRun, FlowTest, Sent, StepRecord

_MOST_FLOWS = 100
"""That one sample may lead to: flows may send to each other for ever."""


class FlowTestArguments(msgspec.Struct, frozen=True, kw_only=True):
    """What to send through which flow. `paths` are manifests; none: what is applied.

    `answers` by target (`service/approve`, `connection/crm`): the bodies that stand for its answers, in their order;
    the last stands for all that come after. Services without one are really run; nothing is ever really sent.
    """

    flow: str
    body: bytes
    headers: dict[str, str] = {}
    content_type: str = "application/json"
    paths: tuple[Path, ...] = ()
    answers: dict[str, tuple[bytes, ...]] = {}


class StepResult(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The message after one step. A body that is not UTF-8 stands in `body_base64`."""

    flow: str
    stage: str
    step: str
    body: str | None = None
    body_base64: str | None = None
    headers: dict[str, str] = {}
    variables: dict[str, Any] = {}
    unchanged: bool = False
    """Whether the message is the one that the step before left."""


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
    trial, flow = await _trial(link, arguments, progress)
    message = Message.new(arguments.body, headers=arguments.headers, content_type=arguments.content_type,
                          channel="flow-test")
    return await trial.whole(flow.name, message)


async def flow_test(link: Link, arguments: FlowTestArguments, clock: Clock) -> FlowTest:
    """The flow in memory, as `try_flow` runs it. Raises as that does."""
    trial, flow = await _trial(link, arguments, silent)
    return trial.test(flow, clock)


async def _trial(link: Link, arguments: FlowTestArguments, progress: Progress) -> tuple[_Trial, Flow]:
    resources, folders = await _resources(link, arguments, progress)
    flows = {one.name: one for one in resources.values() if isinstance(one, Flow)}
    if arguments.flow not in flows:
        from arint.resources.problems import nearest

        raise NotFoundError(f"there is no flow {arguments.flow!r}", remedy=nearest(arguments.flow, flows))
    services = {one.name: one for one in resources.values() if isinstance(one, Service)}
    packages = await _packages(link, services.values())
    return _Trial(flows, services, folders, packages, arguments.answers, progress), flows[arguments.flow]


async def _resources(link: Link, arguments: FlowTestArguments,
                     progress: Progress) -> tuple[dict[str, Resource], dict[str, Path]]:
    """The resources by key, and for each service the folder of its code: fetched where another node has it."""
    from arint.operations.shipping import bring_code

    if arguments.paths:
        from arint.resources.manifests import load

        declared = load(arguments.paths)
        return ({item.key: item.resource for item in declared},
                {item.resource.name: item.folder for item in declared if isinstance(item.resource, Service)})
    _, resources = await applied(link)
    codes = {one.name: one.code for one in resources.values() if isinstance(one, Service)}
    for code in codes.values():
        with suppress(NotFoundError):  # told of if the flow comes to need it
            await bring_code(link, [code], progress)
    return resources, {name: link.home.artifact(code) for name, code in codes.items()}


async def _packages(link: Link, services: Collection[Service]) -> dict[str, Path]:
    """What services require, where the cluster has it installed; else this Python's own packages must do."""
    if not any(one.requirements for one in services):
        return {}
    existing: list[Resource] = []
    with suppress(ArintError):
        existing = list((await applied(link))[1].values())
    found = {one.name: installed_for(link.home, one, existing) for one in services}
    return {name: folder for name, folder in found.items() if folder is not None}


class _Trial:
    """The flow as `arint.testing` runs it, and then the flows and services that it sends to."""

    def __init__(self, flows: Mapping[str, Flow], services: Mapping[str, Service], folders: Mapping[str, Path],
                 packages: Mapping[str, Path], answers: Mapping[str, tuple[bytes, ...]], progress: Progress) -> None:
        from arint.resources.graph import secrets_of
        from arint.testing import ServiceCode

        self._flows = dict(flows)
        self._services: dict[str, Any] = {name: ServiceCode(folders[name], one, packages.get(name))
                                          for name, one in services.items()}
        self._services |= _answers_of("service", answers)
        self._config = {name: one.config for name, one in services.items()}
        # A callback's address stands for itself.
        self._connections = {**_answers_of("connection", answers), **_answers_of("", answers)}
        self._secrets = {name: b"" for one in services.values() for name in secrets_of(one)}
        self._secrets |= {target.removeprefix("secret/"): bodies[-1] for target, bodies in answers.items()
                          if target.startswith("secret/")}
        self._progress = progress
        self._steps: list[StepResult] = []
        self._deliveries: list[DeliveryResult] = []

    async def whole(self, flow: str, message: Message) -> FlowTestResult:
        """Everything that comes of the message."""
        runs: list[FlowRun] = []
        waiting = [(self._flows[flow], message)]
        while waiting and len(runs) < _MOST_FLOWS:
            following, given = waiting.pop(0)
            run = await self._run(following, given)
            runs.append(run)
            waiting += [(target, sent.message) for sent in run.sent if (target := self._flow_of(sent.target))]
        failure = next((run.failure for run in runs if run.failure), None)
        return FlowTestResult(
            flow=flow, state="dead" if failure else "done", steps=tuple(self._steps),
            deliveries=tuple(self._deliveries),
            log=tuple(f"{level}: {text}" for run in runs for level, text in run.logs),
            error_kind=failure.kind if failure else "", error=failure.message if failure else "",
            where=failure.where if failure else "")

    def test(self, flow: Flow, clock: Clock | None = None) -> FlowTest:
        """The flow in memory."""
        from arint.testing import FlowTest

        return FlowTest(flow, services=self._services, connections=self._connections, flows=self._flows,
                        config=self._config, secrets=self._secrets, clock=clock)

    async def _run(self, flow: Flow, message: Message) -> FlowRun:
        self._progress(Step(f"running flow {flow.name}"))
        run = await self.test(flow).run_async(message)
        before = message
        for step in run.steps:
            self._steps.append(_step(flow.name, step, before))
            before = step.message
        self._deliveries += [_delivery(sent) for sent in run.sent if self._flow_of(sent.target) is None]
        return run

    def _flow_of(self, target: str) -> Flow | None:
        """The flow that takes what is sent there; None for what leaves the cluster."""
        kind, _, name = target.partition("/")
        if kind == "service" and name in self._services:
            return Flow(name=f"service={name}", steps=[{"call": target}])
        return self._flows.get(name) if kind == "flow" else None


def _answers_of(kind: str, answers: Mapping[str, tuple[bytes, ...]]) -> dict[str, Callable[[bytes], Any]]:
    """By name, what answers for the services or connections."""
    from arint.testing import in_order

    lead = f"{kind}/" if kind else ""
    return {target.removeprefix(lead): in_order(*bodies) for target, bodies in answers.items()
            if target.startswith(lead)}


def _step(flow: str, step: StepRecord, before: Message) -> StepResult:
    after = step.message
    text, coded = body_text(after.body)
    same = (after.body, after.headers, after.variables) == (before.body, before.headers, before.variables)
    return StepResult(flow=flow, stage=step.stage, step=f"{step.path}-{step.key} {step.name}".rstrip(), body=text,
                      body_base64=coded, headers=after.headers, variables=after.variables, unchanged=same)


def _delivery(sent: Sent) -> DeliveryResult:
    text, coded = body_text(sent.message.body)
    options = dict(sent.options)
    method = str(options.pop("method", "")) if "://" in sent.target else ""
    return DeliveryResult(target=f"{method} {sent.target}".lstrip(), body=text, body_base64=coded,
                          options={**options, **({"headers": dict(sent.headers)} if sent.headers else {})})
