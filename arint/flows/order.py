"""Whose turn it is: of each key one at a time, the earliest first. Pure."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any, ClassVar

from arint.errors import RejectedError
from arint.flows.expressions import Expression, as_text, expression
from arint.flows.step import PureStep

if TYPE_CHECKING:
    from arint.flows.state import State

_LONGEST_KEY = 1000


class Queues:
    """The messages of an ordered flow by their sequence. The first of each key has its turn until it leaves."""

    def __init__(self) -> None:
        self._of_key: dict[str, list[int]] = {}

    def add(self, key: str, sequence: int) -> bool:
        """Is it its turn at once? One that comes late is still before all that are behind it, and not yet begun."""
        queue = self._of_key.get(key)
        if queue is None:
            self._of_key[key] = [sequence]
            return True
        if sequence not in queue:
            bisect.insort(queue, sequence, lo=1)
        return queue[0] == sequence

    def leave(self, key: str, sequence: int) -> int | None:
        """It is over; whose turn is it now?"""
        queue = self._of_key[key]
        first = queue[0] == sequence
        queue.remove(sequence)
        if not queue:
            del self._of_key[key]
            return None
        return queue[0] if first else None


class InOrder(PureStep):
    """The flow's `order_by`: a message without a key is rejected. Not written by users as a step."""

    key: ClassVar[str] = "order_by"
    Spec: ClassVar[Any] = str

    def __init__(self, spec: str) -> None:
        self._expression: Expression = expression(spec)

    def key_of(self, state: State) -> str:
        """The key of the message. Raises RejectedError where it has none."""
        value = self._expression.evaluate(state)
        if value is None:
            raise RejectedError(f"`{self._expression.source}`: the message has no key to be ordered by")
        key = as_text(value)
        if len(key) > _LONGEST_KEY:
            raise RejectedError(f"`{self._expression.source}` is longer than {_LONGEST_KEY} characters")
        return key

    def apply(self, state: State) -> None:
        """Raises RejectedError."""
        self.key_of(state)
