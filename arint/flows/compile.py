"""From a flow's steps to a program: linear instructions with jumps, cut into stages.

Every effect (a call, a send, a callback) begins a stage; the pure steps after it belong to it, up to the next effect.
A stage's token is made of the place in the tree of steps and of what it does (`3-call-price`), so that it stays the
same while the steps before it stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from arint.errors import NotFoundError, NotValidError
from arint.flows.expressions import Expression
from arint.flows.order import InOrder
from arint.flows.step import EffectStep, PureStep, Step, StepError
from arint.masking import Masks
from arint.plugins import step_types
from arint.resources.kinds import Flow, Retry
from arint.resources.problems import path_text
from arint.resources.quantities import octets

if TYPE_CHECKING:
    from arint.flows.state import State
    from arint.flows.steps.waiting import Throttle

START = "start"
LARGEST_PROGRAM = 10_000
DEEPEST = 50
"""Lists of steps within lists of steps."""
STEP_KEYS = frozenset({"name", "retry"})
"""What may stand in a step beside its own key."""


class Label:
    """A place in the program that is known only later."""

    __slots__ = ("at", "token")

    def __init__(self) -> None:
        self.at = -1
        self.token = ""


class Instruction:
    """One thing to do: `kind` says which fields matter. `handler` is the `catch` around it.

    `where` is where its step stands in the manifest, as errors tell it.
    """

    __slots__ = ("condition", "handler", "key", "kind", "name", "path", "step", "to", "token", "where")

    def __init__(self, kind: Literal["pure", "effect", "branch", "jump", "end"], path: str = "", key: str = "", *,
                 step: Any = None, condition: Expression | None = None, to: Label | None = None,
                 handler: Label | None = None, token: str = "") -> None:
        self.kind = kind
        self.path = path
        self.key = key
        self.step = step
        self.condition = condition
        self.to = to
        self.handler = handler
        self.token = token
        self.name = ""
        self.where = ""


class Stage(msgspec.Struct, frozen=True):
    """One stage: `kind` is the key of its effect (`call`, `send`, `callback`), or `pure`; `at` its first instruction.

    `target` is what the effect touches, such as `service/price`. `handler` is the stage of the `catch` around it.
    `name` is what its writer calls the step, and `where` where it stands in the manifest.
    """

    token: str
    kind: str
    target: str
    at: int
    retry: Retry
    handler: str = ""
    path: str = ""
    name: str = ""
    where: str = ""


class Program(msgspec.Struct, frozen=True):
    """A compiled flow."""

    flow: str
    stages: dict[str, Stage]
    instructions: tuple[Instruction, ...]
    unavailable_for: str = "24h"
    paces: dict[str, Throttle] = {}
    """The stages that are paced, by token."""
    order: InOrder | None = None
    """How the flow's messages are ordered."""

    def stage(self, token: str) -> Stage:
        """The stage of this token. Raises NotFoundError: the flow has changed since the message was stored."""
        found = self.stages.get(token)
        if found is None:
            raise NotFoundError(f"the flow has no stage {token} any more", where=f"flow/{self.flow}",
                                remedy="replay the message, or go back to the change set that had it")
        return found

    def has_owner(self, token: str) -> bool:
        """Does this stage hold its messages, so that one process must have them all?"""
        return self.stage(token).kind == "aggregate" or (self.order is not None and token == START)

    def where(self, token: str) -> str:
        """Where the stage's step stands in the manifest; the stage itself where it begins with no step of its own."""
        found = self.stages.get(token)
        return found.where or token if found is not None else token

    def retry(self, token: str) -> Retry:
        """How often this stage is tried."""
        return self.stage(token).retry


class Builder:
    """What steps write their instructions into."""

    def __init__(self, flow: Flow, flows: Mapping[str, Flow]) -> None:
        self._flow = flow
        self._flows = flows
        self._code: list[Instruction] = []
        self._stages: dict[str, Stage] = {}
        self._handlers: list[Label] = []
        self._entries: list[Label] = []
        self._forks: list[Label] = []
        self._dropped = Label()
        self._paces: dict[str, Throttle] = {}
        self._inlined: list[Flow] = [flow]
        self._retry = flow.retry
        self._name = ""
        self._at = ""
        self._depth = 0

    def program(self) -> Program:
        """Compile the flow."""
        order = InOrder(self._flow.order_by) if self._flow.order_by else None
        if order is not None:
            self.pure(order, "flow")
        self.steps(self._flow.steps, "")
        self._add(Instruction("end"))
        self._end_of_the_dropped()
        self._merge_paces()
        self._merge_entries()
        first = self._landing(0)
        if first.kind == "effect":  # the first stage does it itself: one store less
            begun = self._stages.pop(first.token)
            self._stages[START] = msgspec.structs.replace(begun, token=START)
            if first.token in self._paces:
                self._paces[START] = self._paces.pop(first.token)
            first.token = START
        else:
            self._stages[START] = Stage(token=START, kind="pure", target="", at=0, retry=self._flow.retry)
        return Program(self._flow.name, self._stages, tuple(self._code), self._flow.unavailable_for, self._paces,
                       order)

    def _end_of_the_dropped(self) -> None:
        """Where a `filter` leads with no gathering after it: the message ends there."""
        self._name = ""
        self._at = ""
        places = [*self._forks, self._dropped]
        if any(instruction.to in places for instruction in self._code):
            for label in places:
                label.at = len(self._code)
            self.pure(Drop(None), "")
            self._add(Instruction("end"))

    def _merge_entries(self) -> None:
        """What begins with an effect (a `catch`, the parts of a split) needs no stage of its own but the effect's."""
        effects = {label.token: first.token for label in self._entries
                   if (first := self._landing(label.at)).kind == "effect"}
        for label in self._entries:
            label.token = effects.get(label.token, label.token)
        self._stages = {token: msgspec.structs.replace(stage, handler=effects.get(stage.handler, stage.handler))
                        for token, stage in self._stages.items() if token not in effects}

    def steps(self, steps: list[dict[str, Any]], prefix: str, *within: str | int) -> None:
        """Add these steps; the path of each is the prefix and its index.

        `within` is where they stand in the step that is being emitted, as `Step.blocks` tells it.
        """
        self._depth += 1
        if self._depth > DEEPEST:
            raise NotValidError(f"steps are nested more than {DEEPEST} deep", where=f"flow/{self._flow.name}")
        around, at = self._retry, self._at
        listed = _under(at, within or ("steps",))
        for index, written in enumerate(steps):
            step = build_step(written)
            self._retry = msgspec.convert(written["retry"], Retry) if "retry" in written else around
            self._name = str(written.get("name", ""))
            self._at = f"{listed}[{index}]"
            step.emit(self, f"{prefix}{index}")
        self._retry, self._at = around, at
        self._depth -= 1

    def pure(self, step: PureStep, path: str) -> None:
        """Add a step that only changes the message."""
        self._add(Instruction("pure", path, step.key, step=step, handler=self._handler))

    def effect(self, step: EffectStep, path: str) -> None:
        """Add a step that begins a stage."""
        token = _token(path, step.key, step.target)
        handler = self._handler
        self._stages[token] = Stage(token=token, kind=step.key, target=step.target, at=len(self._code),
                                    retry=self._retry, handler=handler.token if handler else "", path=path,
                                    name=self._name, where=self._where(step.key))
        self._add(Instruction("effect", path, step.key, step=step, handler=handler, token=token))

    def branch(self, condition: Expression, otherwise: Label, path: str, key: str) -> None:
        """Go on if the condition holds, else go to the label."""
        self._add(Instruction("branch", path, key, condition=condition, to=otherwise, handler=self._handler))

    def jump(self, to: Label) -> None:
        """Go to the label."""
        self._add(Instruction("jump", to=to))

    def label(self) -> Label:
        """A place to be."""
        return Label()

    def place(self, label: Label) -> None:
        """The label is here."""
        label.at = len(self._code)
        if label.token:
            self._entries.append(label)
            self._stages[label.token] = Stage(token=label.token, kind="pure", target="", at=label.at,
                                              retry=self._retry, handler=self._handler.token if self._handler else "")

    def entry(self, token: str) -> Label:
        """Here begins a stage, which others store the inputs of; the label's token is known once all is compiled."""
        label = Label()
        label.token = token
        self.place(label)
        return label

    def paced(self, step: Throttle) -> None:
        """The effect that was just added is to be paced."""
        self._paces[self._code[-1].token] = step

    def _merge_paces(self) -> None:
        """Where a system is told or asked next, and nothing else leads there, the attempts of that are paced."""
        targets = {instruction.to.at for instruction in self._code if instruction.to is not None}
        for index, instruction in enumerate(self._code):
            following = self._code[min(index + 1, len(self._code) - 1)]
            if instruction.token in self._paces and following.kind == "effect" and index + 1 not in targets \
                    and instruction.handler is following.handler and (
                        following.key == "callback" or self._stages[following.token].target.startswith("connection/")):
                self._paces[following.token] = self._paces.pop(instruction.token)
                del self._stages[instruction.token]
                instruction.kind, instruction.token, instruction.to = "jump", "", self.label()
                instruction.to.at = index + 1

    def _landing(self, at: int) -> Instruction:
        """The instruction to which the jumps that stand there lead."""
        while (found := self._code[at]).kind == "jump":
            assert found.to is not None
            at = found.to.at
        return found

    def forked(self) -> None:
        """From here on there are several messages of one; what is filtered out is missed where they are gathered."""
        self._forks.append(Label())

    def gathered(self, path: str) -> None:
        """Here the messages of the innermost fork are gathered: those that were filtered out come here as well."""
        if not self._forks:
            return
        dropped, here = self._forks.pop(), self.label()
        if any(instruction.to is dropped for instruction in self._code):
            self.jump(here)
            self.place(dropped)
            self.pure(Absent(None), path)
            self.place(here)

    @property
    def dropped(self) -> Label:
        """Where a message goes that is filtered out."""
        return self._forks[-1] if self._forks else self._dropped

    @property
    def masks(self) -> Masks:
        """What this flow, and those that call it here, do not let be shown."""
        return Masks(path for flow in self._inlined for path in flow.mask)

    @property
    def max_bytes(self) -> int:
        """How many octets of messages the flow may hold."""
        return octets(self._flow.max_bytes)

    @contextmanager
    def guarded(self, handler: Label, token: str) -> Iterator[None]:
        """What is added within goes to the handler when it fails; `token` is the handler's stage."""
        handler.token = token
        self._handlers.append(handler)
        try:
            yield
        finally:
            self._handlers.pop()

    def flow(self, name: str, path: str) -> None:
        """Add the steps of another flow, with its own `retry`."""
        names = [flow.name for flow in self._inlined]
        if name in names:
            raise NotValidError(f"flows call each other in a circle: {' -> '.join([*names, name])}",
                                where=f"flow/{self._flow.name}", remedy="use send, or take one call out")
        called = self._flows.get(name)
        if called is None:
            raise NotFoundError(f"there is no flow {name}", where=f"flow/{names[-1]}", remedy="check the name")
        around, self._retry = self._retry, called.retry
        at, self._at = self._at, f"flow/{name}:"
        self._inlined.append(called)
        self.steps(called.steps, f"{path}f")
        self._inlined.pop()
        self._retry, self._at = around, at

    def _where(self, key: str) -> str:
        place = _under(self._at, (key,))
        return f"{self._name} ({place})" if self._name else place

    @property
    def _handler(self) -> Label | None:
        return self._handlers[-1] if self._handlers else None

    def _add(self, instruction: Instruction) -> None:
        if len(self._code) >= LARGEST_PROGRAM:
            raise NotValidError(f"with the flows it calls it has more than {LARGEST_PROGRAM} steps",
                                where=f"flow/{self._flow.name}", remedy="send to flows instead of calling them")
        instruction.name, instruction.where = self._name, self._where(instruction.key)
        self._code.append(instruction)


class Drop(PureStep):
    """Ends a message that a `filter` took out. Not written by users."""

    key: ClassVar[str] = "filter"
    Spec: ClassVar[Any] = None

    def __init__(self, spec: None) -> None:
        """Nothing to compile."""

    def apply(self, state: State) -> None:
        """The record says what became of it."""
        state.outcome = "filtered"


class Absent(Drop):
    """Sends a part that a `filter` took out on to where the parts are gathered, to be counted. Not written by users."""

    def apply(self, state: State) -> None:
        """Its content is of no interest any more."""
        super().apply(state)
        state.variables = {**state.variables, "split": {**state.variables["split"], "absent": True}}
        state.body = None


def build_step(written: Mapping[str, Any]) -> Step:
    """The step that a mapping of a flow's `steps` declares. Raises NotValidError."""
    types = step_types()
    keys = [key for key in written if key in types]
    if len(keys) != 1:
        raise NotValidError(f"a step has one key of its own, not {len(keys)}: {', '.join(map(str, written)) or 'none'}",
                            remedy="check the flow with `arintctl plan`")
    kind = types[keys[0]]
    try:
        return kind(msgspec.convert(spec_of(kind, written), kind.Spec))  # type: ignore[no-any-return]
    except (msgspec.ValidationError, StepError) as error:
        raise NotValidError(str(error), where=keys[0], remedy="check the flow with `arintctl plan`") from None


def spec_of(kind: type[Step], written: Mapping[str, Any]) -> Any:
    """What stands under the step's key; the mapping without the common keys, if the step has sibling keys."""
    if kind.siblings:
        return {key: value for key, value in written.items() if key not in STEP_KEYS}
    return written[kind.key]


def compile_flow(flow: Flow, flows: Mapping[str, Flow]) -> Program:
    """The program of a flow; `flows` are those it may call, by name. Raises NotValidError or NotFoundError."""
    return Builder(flow, flows).program()


@cache
def implicit_program(flow: str) -> Program:
    """The program of a flow that nobody declared: one step, for a message sent to `service=NAME` itself."""
    kind, _, name = flow.partition("=")
    steps: dict[str, dict[str, Any]] = {"service": {"call": f"service/{name}"},
                                        "connection": {"send": {"to": f"connection/{name}"}}}
    step = steps.get(kind)
    if step is None:
        raise NotFoundError(f"there is no flow {flow}", remedy="a service or a connection can be sent to")
    return msgspec.structs.replace(compile_flow(Flow(name=name, steps=[step]), {}), flow=flow)


def _under(at: str, path: Iterable[str | int]) -> str:
    """A place in a manifest, under another: `steps[0].when.then`. After one with a colon it begins anew."""
    text = path_text(tuple(path))
    if not at:
        return text
    return f"{at} {text}" if at.endswith(":") else at + (text if text.startswith("[") else f".{text}")


def _token(path: str, key: str, target: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", target.partition("/")[2].lower()).strip("-")
    return "-".join(filter(None, (path, key, name)))
