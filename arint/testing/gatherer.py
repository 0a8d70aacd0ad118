"""What an `aggregate` holds in a test: groups are complete as in earnest, and late when nothing else is left to do."""

from __future__ import annotations

from collections.abc import Callable

from arint.flows.compile import Program
from arint.flows.groups import Group, Groups, Member, Reason
from arint.flows.state import Effects, Output, State
from arint.flows.steps.aggregating import Aggregate
from arint.message import Message


class Gatherer:
    """The open groups of one stage."""

    def __init__(self, program: Program, stage: str, effects: Effects, time: Callable[[], float]) -> None:
        step = program.instructions[program.stage(stage).at].step
        assert isinstance(step, Aggregate)
        self._step, self._flow, self._stage, self._effects = step, program.flow, stage, effects
        self._groups = Groups(step.rule)
        self._time = time
        self._held: list[Message] = []

    def add(self, message: Message) -> list[Output]:
        """The message joins its group; returns what is complete with that. Raises what does not fit."""
        state = State(message, self._flow, self._stage, self._effects)
        key, now = self._step.key_of(state), self._time()
        member = self._step.member(state, key, len(self._held), now, self._groups.get(key))
        self._held.append(message)
        late = self._groups.expired(key, now)
        wholes = [self._whole(late, "time")] if late is not None else []
        group = self._groups.add(key, member)
        reason = group.reason(self._groups.rule)
        return [*wholes, self._whole(group, reason)] if reason is not None else wholes

    @property
    def left(self) -> float:
        """Seconds until the time of the last open group is over."""
        return max((group.since + self._groups.rule.after - self._time() for group in self._groups.open), default=0.0)

    def late(self) -> list[Output]:
        """The aggregates of all groups that are not complete, as if their time were over."""
        return [self._whole(group, "time") for group in self._groups.open]

    def _whole(self, group: Group, reason: Reason) -> Output:
        self._groups.take(group)
        members: list[tuple[Member, Message]] = [(one, self._held[one.sequence]) for one in group.in_order]
        return Output(self._flow, self._step.following, self._step.combine(self._flow, group.key, members, reason))
