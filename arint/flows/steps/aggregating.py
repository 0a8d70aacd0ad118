"""`aggregate`: one message of many, by key, size, time or condition; or of all the parts of a split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec

from arint.errors import BodyAwayError, RejectedError
from arint.flows.expressions import as_text, expression
from arint.flows.groups import MOST_OCTETS, Group, Member, Reason, Rule
from arint.flows.json_text import parse_json, write_json
from arint.flows.state import State
from arint.flows.step import EffectStep, Mistakes, StepError
from arint.flows.steps.assign import Into
from arint.message import Message, derived_id, is_away, size_of
from arint.resources.kinds import Duration
from arint.resources.quantities import seconds

if TYPE_CHECKING:
    from arint.flows.compile import Builder

_JSON = "application/json"
_LONGEST_KEY = 1000
_PARTIAL = "arint.partial"
"""A variable that no user can set: the message stands for several members."""
_pairs = msgspec.json.Decoder(list[tuple[int, msgspec.Raw]]).decode


class AggregateSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`by`: CEL, the key of the group, or one group for all. Whichever of the others comes first completes a group.

    `size`: so many members. `complete`: CEL on each member, which may speak of `vars.group.count` (itself counted).
    `split`: all parts of a `split` or `multicast`. `after`: so long after its first member was stored, with those
    that are there. `into`: where the list of their bodies stands, `body` or `body.NAME`.
    """

    by: str | None = None
    size: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None
    complete: str | None = None
    split: bool = False
    after: Annotated[Duration | None, msgspec.Meta(description="24h, if it is not said")] = None
    into: str = "body"


class Aggregate(EffectStep):
    """`aggregate: {by: body.customer, size: 100, after: 5s}`: the bodies of a group become one list.

    The members stay stored until their group is complete, whatever restarts; each is in exactly one aggregate. The
    list is in the order of storing, that of a split in the order of its parts. The aggregate has the headers and
    variables of the first, and `vars.group` with `key`, `count` and `complete` (`size`, `condition`, `split`, `time`,
    or `full`: 4 MiB). A member that comes too late begins a new group.
    """

    key: ClassVar[str] = "aggregate"
    Spec: ClassVar[Any] = AggregateSpec

    def __init__(self, spec: AggregateSpec) -> None:
        found = Mistakes()
        with found.at("by"):
            self._by = expression(spec.by) if spec.by is not None else None
        with found.at("complete"):
            self._complete = expression(spec.complete) if spec.complete is not None else None
        with found.at("into"):
            if spec.into.partition(".")[0] != "body":
                raise StepError(f'"{spec.into}" cannot hold the list', (), "body or body.NAME")
            self._into = None if spec.into == "body" else Into(spec.into)
        found.refuse()
        if spec.split and (spec.by or spec.size or spec.complete):
            raise StepError("split says already what belongs together", (), "{split: true, after: 1h}")
        if not (spec.split or spec.size or spec.complete or spec.after):
            raise StepError("when a group is complete is not said", (), "size, after, complete or split")
        self._is_split = spec.split
        self.rule = Rule(spec.size or 0, seconds(spec.after or "24h"))

    def emit(self, build: Builder, path: str) -> None:
        """An effect, and the stage in which the aggregate begins."""
        if self._is_split:
            build.gathered(path)
        build.effect(self, path)
        self._path = path
        self._next = build.entry(f"{path}-whole")

    @property
    def following(self) -> str:
        """The stage in which the aggregate begins."""
        return self._next.token

    async def perform(self, state: State, idempotency_key: str) -> None:
        """Nothing: whoever runs the stage gathers its messages, and asks `member` and `combine`."""

    def key_of(self, state: State) -> str:
        """The key of the message's group. Raises RejectedError where it has none."""
        if self._is_split:
            split = _split_of(state)
            return f"{split['parent']}.{split['run']}"
        if self._by is None:
            return ""
        key = as_text(self._by.evaluate(state))
        if len(key) > _LONGEST_KEY:
            raise RejectedError(f"`{self._by.source}` is longer than {_LONGEST_KEY} characters")
        return key

    def member(self, state: State, key: str, sequence: int, stored: float, group: Group | None) -> Member:
        """The message as a member of its group, which has these members so far. Raises RejectedError."""
        message = state.message()
        if (partial := message.variables.get(_PARTIAL)) is not None:
            return Member(sequence, partial["at"], size_of(message.body), partial["order"], partial["weight"],
                          partial["ends"], partial["expected"])
        expected = 0
        order = sequence
        if self._is_split:
            split = _split_of(state)
            expected, order = split["count"], split["index"]
            if split.get("absent"):
                return Member(sequence, stored, 0, order, expected=expected)
        if size_of(message.body) > MOST_OCTETS:
            raise RejectedError(f"the body is larger than {MOST_OCTETS} bytes, the most that an aggregate may have")
        _raw(message)
        return Member(sequence, stored, len(message.body), order, ends=self._ends(state, key, group),
                      expected=expected)

    def _ends(self, state: State, key: str, group: Group | None) -> bool:
        if self._complete is None:
            return False
        count = (group.weight if group is not None else 0) + 1
        state.variables = {**state.variables, "group": {"key": key, "count": count}}
        return self._complete.holds(state)

    def combine(self, flow: str, key: str, members: Sequence[tuple[Member, Message]], reason: Reason) -> Message:
        """The aggregate; `members` in order. Done again with the same first member it has the same id."""
        items = [item for pair in members for item in self._items(*pair)]
        items.sort(key=lambda item: item[0])
        first = self._frame(flow, "", [message for _, message in members])
        variables = {name: value for name, value in first.variables.items() if name not in (_PARTIAL, "split")}
        split = first.variables.get("split", {})
        if not self._is_split:
            variables |= {"split": split} if split else {}
        elif "outer" in split:
            variables["split"] = split["outer"]
        first.cause = split["parent"] if self._is_split else first.cause
        first.variables = {**variables, "group": {"key": key, "count": len(items), "complete": reason}}
        first.body = b"[%b]" % b",".join(raw for _, raw in items)
        if self._into is not None:
            state = State(msgspec.structs.replace(first, body=b"{}"), flow, "", None)  # type: ignore[arg-type]
            self._into.put(state, parse_json(first.body))
            return state.message()
        return first

    def compact(self, flow: str, members: Sequence[tuple[Member, Message]]) -> Message:
        """One member that stands for all of these: a group may be larger than what can be stored at once."""
        items = [item for pair in members for item in self._items(*pair)]
        partial = self._frame(flow, "partial", [message for _, message in members])
        partial.body = b"[%b]" % b",".join(b"[%d,%b]" % item for item in items)
        partial.variables = {**partial.variables, _PARTIAL: {
            "at": min(member.at for member, _ in members), "order": min(member.order for member, _ in members),
            "weight": sum(member.weight for member, _ in members), "ends": any(member.ends for member, _ in members),
            "expected": max(member.expected for member, _ in members)}}
        if "split" in partial.variables:
            partial.variables["split"] = {name: value for name, value in partial.variables["split"].items()
                                          if name != "absent"}
        return partial

    def _items(self, member: Member, message: Message) -> list[tuple[int, bytes]]:
        if _PARTIAL in message.variables:
            return [(order, bytes(raw)) for order, raw in _pairs(message.body)]
        if self._is_split and message.variables["split"].get("absent"):
            return []
        return [(member.order, _raw(message))]

    def _frame(self, flow: str, kind: str, messages: Sequence[Message]) -> Message:
        """The first member with an id of its own: under the root that all have in common, or else one of its own."""
        first = messages[0]
        identity = derived_id(first.id, first.run, f"{flow}/{self._path}", "aggregate", kind)
        root = first.root if all(message.root == first.root for message in messages) else identity
        same = all(message.correlation_id == first.correlation_id for message in messages)
        return msgspec.structs.replace(first, id=identity, root=root, cause=first.id, content_type=_JSON, attempt=1,
                                       correlation_id=first.correlation_id if same else identity, failure=None)


def is_partial(message: Message) -> bool:
    """Does it stand for several members of a group?"""
    return _PARTIAL in message.variables


def _split_of(state: State) -> dict[str, Any]:
    split = state.variables.get("split")
    if not isinstance(split, dict) or not {"parent", "run", "index", "count"} <= split.keys():
        raise RejectedError("it is no part of a split", remedy="gather only what `split` or `multicast` has made")
    return split


def _raw(message: Message) -> bytes:
    """The body as JSON: as it is, or what is text as a string. Raises RejectedError, BodyAwayError."""
    if is_away(message.body):
        raise BodyAwayError("the large body is not fetched")
    if "json" in message.content_type:
        parse_json(message.body)
        return message.body
    try:
        return write_json(message.body.decode())
    except UnicodeDecodeError:
        raise RejectedError("the body is neither JSON nor text") from None
