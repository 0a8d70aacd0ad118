"""`when`, `route` and `try`: which steps come next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec

from arint.flows.expressions import Expression, expression
from arint.flows.state import State
from arint.flows.step import Mistakes, Path, PureStep, Step, StepError

if TYPE_CHECKING:
    from arint.flows.compile import Builder

Steps = list[dict[str, Any]]
SomeSteps = Annotated[Steps, msgspec.Meta(min_length=1, description="a list of steps")]


def _within(written: Any, *keys: str) -> list[tuple[Path, Any]]:
    """What stands under those of the keys that are there."""
    return [((key,), written[key]) for key in keys if key in written] if isinstance(written, dict) else []


class WhenSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True,
               rename={"condition": "if", "otherwise": "else"}):
    """`if`: a CEL condition; `then` and `else`: steps."""

    condition: str
    then: SomeSteps
    otherwise: Steps = []


class When(Step):
    """`{if: "body.total > 1000", then: [...], else: [...]}`."""

    key: ClassVar[str] = "when"
    Spec: ClassVar[Any] = WhenSpec

    def __init__(self, spec: WhenSpec) -> None:
        self._spec = spec
        found = Mistakes()
        with found.at("if"):
            self._condition = expression(spec.condition)
        found.refuse()

    @classmethod
    def blocks(cls, written: Any) -> Iterable[tuple[Path, Any]]:
        """Both branches."""
        return _within(written, "then", "else")

    def emit(self, build: Builder, path: str) -> None:
        """Test, then-branch, jump, else-branch."""
        otherwise, end = build.label(), build.label()
        build.branch(self._condition, otherwise, path, self.key)
        build.steps(self._spec.then, f"{path}t", self.key, "then")
        build.jump(end)
        build.place(otherwise)
        build.steps(self._spec.otherwise, f"{path}e", self.key, "else")
        build.place(end)


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`{when: CEL, then: [...]}`; or, as the last one, `{otherwise: [...]}`."""

    when: str | None = None
    then: Steps = []
    otherwise: Steps | None = None


class Route(Step):
    """The first case that holds is taken; a message that fits none goes on after the step."""

    key: ClassVar[str] = "route"
    Spec: ClassVar[Any] = Annotated[list[Case], msgspec.Meta(min_length=1, description="a list of cases")]

    def __init__(self, spec: list[Case]) -> None:
        self._cases: list[tuple[Expression | None, Steps]] = []
        found = Mistakes()
        for index, case in enumerate(spec):
            with found.at(index):
                self._cases.append(_case(case, last=index == len(spec) - 1))
        found.refuse()

    @classmethod
    def blocks(cls, written: Any) -> Iterable[tuple[Path, Any]]:
        """Every case."""
        cases = enumerate(written) if isinstance(written, list) else ()
        return [((index, *path), steps) for index, case in cases for path, steps in _within(case, "then", "otherwise")]

    def emit(self, build: Builder, path: str) -> None:
        """A chain of tests."""
        end = build.label()
        for index, (condition, steps) in enumerate(self._cases):
            branch = "otherwise" if condition is None else "then"
            following = build.label()
            if condition is not None:
                build.branch(condition, following, path, self.key)
            build.steps(steps, f"{path}r{index}s", self.key, index, branch)
            build.jump(end)
            build.place(following)
        build.place(end)


def _case(case: Case, *, last: bool) -> tuple[Expression | None, Steps]:
    if case.otherwise is not None:
        if case.when is not None or case.then or not last:
            raise StepError("otherwise stands alone, as the last case")
        return None, case.otherwise
    if case.when is None:
        raise StepError('the key "when" is missing', (), "{when: CONDITION, then: [...]}")
    found = Mistakes()
    with found.at("when"):
        condition = expression(case.when)
    found.refuse()
    return condition, case.then


class TrySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"attempt": "try", "handler": "catch"}):
    """`try`: steps; `catch`: the steps for a message that failed in them for good."""

    attempt: SomeSteps
    handler: SomeSteps


class Try(Step):
    """`try: [...]` with `catch: [...]` beside it. In `catch`, `error` has `kind`, `message` and `stage` (where)."""

    key: ClassVar[str] = "try"
    Spec: ClassVar[Any] = TrySpec
    siblings: ClassVar[frozenset[str]] = frozenset({"catch"})

    def __init__(self, spec: TrySpec) -> None:
        self._spec = spec

    @classmethod
    def blocks(cls, written: Any) -> Iterable[tuple[Path, Any]]:
        """Both lists."""
        return _within(written, "try", "catch")

    def emit(self, build: Builder, path: str) -> None:
        """The steps, a jump over the handler, the handler."""
        handler, end = build.label(), build.label()
        with build.guarded(handler, f"{path}-catch"):
            build.steps(self._spec.attempt, f"{path}y", "try")
        build.jump(end)
        build.place(handler)
        build.steps(self._spec.handler, f"{path}c", "catch")
        build.pure(Forget(None), f"{path}c")
        build.place(end)


class Forget(PureStep):
    """Ends a `catch`: the failure is dealt with. Not written by users."""

    key: ClassVar[str] = "catch"
    Spec: ClassVar[Any] = None

    def __init__(self, spec: None) -> None:
        """Nothing to compile."""

    def apply(self, state: State) -> None:
        """Forget the failure."""
        state.failure = None
