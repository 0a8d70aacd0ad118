"""`delay` and `throttle`: a message waits, stored, until its time; those behind it do not wait for it."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec

from arint.errors import RejectedError
from arint.flows.expressions import as_text, expression
from arint.flows.state import State
from arint.flows.step import EffectStep, Mistakes, StepError
from arint.resources.kinds import Duration
from arint.resources.quantities import seconds

if TYPE_CHECKING:
    from arint.flows.compile import Builder

Rate = Annotated[str, msgspec.Meta(pattern=r"^(?=.*[1-9])\d+(\.\d+)?/(s|m|h|d)$",
                                   description="such as 10/s, 100/m, 1/h")]


class DelaySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"lasting": "for"}):
    """One of them. `for`: from when the message came to this step; `until`: CEL that gives a moment.

    A moment is a timestamp, text in RFC 3339, or seconds since the epoch. One that is past means no delay.
    """

    lasting: Duration | None = None
    until: str | None = None


class Delay(EffectStep):
    """`delay: 5m`, or `delay: {until: body.due}`: the message stays stored until then.

    It survives any restart, holds up no other message, and uses no attempt. At most 100,000 messages wait in one such
    step; what comes after these waits before it.
    """

    key: ClassVar[str] = "delay"
    Spec: ClassVar[Any] = Duration | DelaySpec

    def __init__(self, spec: str | DelaySpec) -> None:
        written = DelaySpec(spec) if isinstance(spec, str) else spec
        if (written.lasting is None) == (written.until is None):
            raise StepError("exactly one of for and until is needed", (), "{for: 5m} or {until: body.due}")
        self._lasting = seconds(written.lasting) if written.lasting else 0.0
        found = Mistakes()
        with found.at("until"):
            self._until = expression(written.until) if written.until is not None else None
        found.refuse()

    def due(self, state: State, arrived: float) -> float:
        """When the message may go on, in seconds since the epoch, as `arrived` is. Raises RejectedError."""
        if self._until is None:
            return arrived + self._lasting
        return moment(self._until.evaluate(state), self._until.source)

    async def perform(self, state: State, idempotency_key: str) -> None:
        """Nothing: whoever runs the stage has waited."""


def moment(value: Any, source: str) -> float:
    """A moment in seconds since the epoch. Raises RejectedError for what is none."""
    try:
        if isinstance(value, str):
            value = datetime.datetime.fromisoformat(value)
        if isinstance(value, datetime.datetime):
            return (value if value.tzinfo else value.replace(tzinfo=datetime.UTC)).timestamp()
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12:
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise RejectedError(f"`{source}` is no moment", remedy="a timestamp, text in RFC 3339, or seconds since the epoch")


class ThrottleSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`rate`: how many may pass; `by`: CEL, each value has its own pace; `burst`: so many at once after a pause."""

    rate: Rate
    by: str | None = None
    burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1


class Throttle(EffectStep):
    """`throttle: 10/s`: so many pass, evenly spaced; the others wait, stored.

    Directly before a `send`, `callback` or `enrich` it paces each attempt of that; else it paces what follows. It
    holds for each node: on several nodes as many times the rate may pass.
    """

    key: ClassVar[str] = "throttle"
    Spec: ClassVar[Any] = Rate | ThrottleSpec

    def __init__(self, spec: str | ThrottleSpec) -> None:
        written = ThrottleSpec(spec) if isinstance(spec, str) else spec
        number, _, unit = written.rate.partition("/")
        self.interval = seconds(f"1{unit}") / float(number)
        self.burst = written.burst
        found = Mistakes()
        with found.at("by"):
            self._by = expression(written.by) if written.by is not None else None
        found.refuse()

    @property
    def by_key(self) -> bool:
        """Has each key a pace of its own?"""
        return self._by is not None

    def pace_of(self, state: State) -> str:
        """The key whose pace counts for this message. Raises RejectedError."""
        return as_text(self._by.evaluate(state)) if self._by is not None else ""

    def emit(self, build: Builder, path: str) -> None:
        """A stage of its own, unless an effect follows that can be paced itself."""
        build.effect(self, path)
        build.paced(self)

    async def perform(self, state: State, idempotency_key: str) -> None:
        """Nothing: whoever runs the stage has waited."""
