"""`send`: to a connection, which begins a stage; or a copy to another flow, a service, a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from arint.errors import RejectedError
from arint.flows.json_text import parse_json
from arint.flows.state import Output, State
from arint.flows.step import EffectStep, Mistakes, PureStep, StepError
from arint.flows.steps.assign import Into
from arint.resources.kinds import Reference
from arint.resources.quantities import seconds

if TYPE_CHECKING:
    from arint.flows.compile import Builder


OWN_KEYS = frozenset({"to", "into"})
"""All others are the connection's transport's."""


class Send(EffectStep):
    """`send: {to: connection/NAME, ...}`; the further keys are the connection's transport's own.

    With `into: vars.NAME` (or `body.NAME`, `body`, `headers.NAME`) the system's answer is put there; the body stays as
    it is otherwise.
    """

    key: ClassVar[str] = "send"
    Spec: ClassVar[Any] = dict[str, Any]

    def __init__(self, spec: dict[str, Any]) -> None:
        try:
            self._target: str = msgspec.convert(spec.get("to"), Reference)
        except msgspec.ValidationError:
            raise StepError("where to is not said", ("to",) if "to" in spec else (),
                            "to: connection/NAME, flow/NAME, service/NAME or topic/NAME") from None
        self._options = {key: value for key, value in spec.items() if key not in OWN_KEYS}
        self._into: Into | None = None
        if "into" in spec:
            found = Mistakes()
            with found.at("into"):
                if not self._target.startswith("connection/"):
                    raise StepError("only a connection answers", (), "`enrich` asks a service")
                self._into = Into(spec["into"])
            found.refuse()
        self._timeout = timeout_of(self._options.get("timeout"))

    @property
    def target(self) -> str:
        """`connection/NAME`."""
        return self._target

    def emit(self, build: Builder, path: str) -> None:
        """An effect for a connection. A copy for another flow is stored with the stage's result: no effect."""
        if self._target.startswith("connection/"):
            build.effect(self, path)
        else:
            build.pure(Hand(self._target, f"{path}-send"), path)

    async def perform(self, state: State, idempotency_key: str) -> None:
        """The answer is kept only if the step says where."""
        options, timeout = self._options, self._timeout
        if state.flow.startswith("connection="):  # addressed directly, by a service: see `Context.send`
            options = dict(state.variables)
            timeout = timeout_of(options.get("timeout"))
        answer = await state.effects.send(self._target, state.message(), options, idempotency_key, timeout)
        if self._into is not None:
            self._into.put(state, answer_of(answer))


class Hand(PureStep):
    """Hands a copy over to what has a stream of its own. Its id is derived, so that a repetition stores nothing."""

    key: ClassVar[str] = "send"
    Spec: ClassVar[Any] = str

    def __init__(self, spec: str, path: str) -> None:
        kind, _, name = spec.partition("/")
        self._flow = name if kind == "flow" else f"{kind}={name}"
        self._stage = "" if kind == "topic" else "start"
        self._path = path

    def apply(self, state: State) -> None:
        """Add an output. Variables belong to the flow they were set in, so they stay."""
        copy = state.message().derive(f"{state.flow}/{self._path}", 0, variables={}, failure=None, attempt=1)
        state.outputs.append(Output(self._flow, self._stage, copy))


def answer_of(answer: bytes | None) -> Any:
    """An answer as a value: JSON, or else text; null where there is none. Raises RejectedError for other bytes."""
    if not answer:
        return None
    try:
        return parse_json(answer)
    except RejectedError:
        try:
            return answer.decode()
        except UnicodeDecodeError:
            raise RejectedError("the answer is neither JSON nor text") from None


def timeout_of(written: Any) -> float:
    """Seconds; 0 where the connection is to say. What is no duration, the transport's own type reports."""
    try:
        return seconds(written)
    except (AttributeError, KeyError, TypeError, ValueError):
        return 0.0
