"""`split` and `multicast`: several messages of one, each of which goes on by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec

from arint.errors import RejectedError
from arint.flows.expressions import Expression, expression
from arint.flows.json_text import write_json
from arint.flows.state import Fork, Output, State
from arint.flows.step import EffectStep, Mistakes, Path
from arint.flows.steps.branching import SomeSteps
from arint.message import Message, encode_envelope
from arint.text import octets_text

if TYPE_CHECKING:
    from arint.flows.compile import Builder, Label

JSON = "application/json"
_PLACE = re.compile(r"body((?:\s*\.\s*[A-Za-z_]\w*+(?!\s*\())*)\s*")
_OVERHEAD = 200
"""Octets that a stored message takes besides its body and its envelope."""


class SplitSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`each`: CEL that gives a list; `batch`: how many of its items make one part, which is then a list itself."""

    each: str
    batch: Annotated[int, msgspec.Meta(ge=1, le=1_000_000, description="1: each item is a part")] = 1


class Split(EffectStep):
    """`split: body.lines`: the steps after it are done once for each item, which is the body of a message of its own.

    A part has the headers and variables of the whole, and `vars.split` with `index` (from 0), `count`, `parent` and
    `run` (the whole's id and run) and, for a split within a split, `outer`. The whole ends here; so does one whose
    list is empty. `aggregate: {split: true}` gathers the parts again.
    """

    key: ClassVar[str] = "split"
    Spec: ClassVar[Any] = str | SplitSpec

    def __init__(self, spec: str | SplitSpec) -> None:
        written = SplitSpec(spec) if isinstance(spec, str) else spec
        found = Mistakes()
        with found.at(*(() if isinstance(spec, str) else ("each",))):
            self._items = Items(written.each)
        found.refuse()
        self._batch = written.batch

    def emit(self, build: Builder, path: str) -> None:
        """An effect, and the stage in which the parts begin."""
        build.effect(self, path)
        self._path = path
        self._room = build.max_bytes
        self._next = build.entry(f"{path}-part")
        build.forked()

    async def perform(self, state: State, idempotency_key: str) -> None:
        """Raises RejectedError where there is no list, or where its parts would never fit into the flow's stream."""
        items = self._items.of(state)
        parts = _batches(items, self._batch) if self._batch > 1 else items
        count = len(parts)
        message = state.message()
        size = len(write_json(items)) + count * (len(encode_envelope(message)) + _OVERHEAD)
        if size > self._room:
            raise RejectedError(f"its {count} parts take {octets_text(size)}, more than the flow may hold",
                                remedy="raise `max_bytes` of the flow, or set `batch` in the split, and replay it")
        state.fork = Fork(count, self._parts(state.flow, message, parts))

    def _parts(self, flow: str, message: Message, parts: list[Any]) -> Iterator[Output]:
        place, count = f"{flow}/{self._path}", len(parts)
        for index, part in enumerate(parts):
            yield Output(flow, self._next.token, message.derive(
                place, index, body=write_json(part), content_type=JSON, attempt=1,
                variables=numbered(message, index, count)))


class Multicast(EffectStep):
    """A list of branches, each a list of steps: each gets a copy of the message, and they go on independently.

    The steps after it are done once for each copy, which has `vars.split` as a part of a `split` has it:
    `aggregate: {split: true}` gathers the copies. Where nothing is to follow, it stands last.
    """

    key: ClassVar[str] = "multicast"
    Spec: ClassVar[Any] = Annotated[list[SomeSteps], msgspec.Meta(min_length=1, max_length=1000,
                                                                  description="branches: lists of steps")]

    def __init__(self, spec: list[list[dict[str, Any]]]) -> None:
        self._branches = spec

    @classmethod
    def blocks(cls, written: Any) -> Iterable[tuple[Path, Any]]:
        """Every branch."""
        return [((index,), steps) for index, steps in enumerate(written)] if isinstance(written, list) else []

    def emit(self, build: Builder, path: str) -> None:
        """An effect, then one branch after the other."""
        build.effect(self, path)
        build.forked()
        self._path = path
        self._entries: list[Label] = []
        end = build.label()
        for index, steps in enumerate(self._branches):
            self._entries.append(build.entry(f"{path}m{index}"))
            build.steps(steps, f"{path}m{index}s", self.key, index)
            build.jump(end)
        build.place(end)

    async def perform(self, state: State, idempotency_key: str) -> None:
        """A copy for each branch."""
        state.fork = Fork(len(self._entries), self._copies(state.flow, state.message()))

    def _copies(self, flow: str, message: Message) -> Iterator[Output]:
        count = len(self._entries)
        for index, entry in enumerate(self._entries):
            yield Output(flow, entry.token, message.derive(f"{flow}/{self._path}", index, attempt=1,
                                                           variables=numbered(message, index, count)))


def numbered(message: Message, index: int, count: int) -> dict[str, Any]:
    """The variables of one of the messages that another one becomes."""
    split: dict[str, Any] = {"index": index, "count": count, "parent": message.id, "run": message.run}
    if "split" in message.variables:
        split["outer"] = message.variables["split"]
    return {**message.variables, "split": split}


class Items:
    """A CEL expression that gives a list. A mere place in the body is looked up: CEL would copy the whole list."""

    def __init__(self, source: str) -> None:
        self._expression: Expression = expression(source)
        place = _PLACE.fullmatch(source)
        self._path = [name.strip() for name in place[1].split(".")[1:]] if place else None

    def of(self, state: State) -> list[Any]:
        """The list. Raises RejectedError where there is none."""
        found = self._expression.evaluate(state) if self._path is None else self._look_up(state)
        if not isinstance(found, list):
            raise RejectedError(f"`{self._expression.source}` is no list but {type(found).__name__}")
        return found

    def _look_up(self, state: State) -> Any:
        found = state.body
        for name in self._path or ():
            if not isinstance(found, dict) or name not in found:
                raise RejectedError(f"`{self._expression.source}`: there is no {name} in the message")
            found = found[name]
        return found


def _batches(items: list[Any], size: int) -> list[Any]:
    return [items[start:start + size] for start in range(0, len(items), size)]
