"""The story of a message, put together from what the bus kept: stage inputs, action records, dead letters. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from arint.actions import Action, Outcome
from arint.bus.subjects import Place, parse_place
from arint.errors import ArintError, NotFoundError
from arint.flows.compile import compile_flow, implicit_program
from arint.resources.kinds import Flow, Resource

HopState = Literal["waiting", "delayed", "retrying", "paused", "done", "filtered", "aggregated", "caught", "dead",
                   "replayed", "dropped"]
MessageState = Literal["processing", "paused", "done", "dead"]
HELD_UP: frozenset[HopState] = frozenset({"waiting", "retrying", "paused"})
"""What may wait for a system that is away."""
_Name = tuple[int, str, str] | tuple[str, int, str, str]
"""How a record names what it stored: run, flow and stage; or the place in full."""
_Named = dict[tuple[_Name, str], list["Hop"]]
"""The hops that named something, by what they named, and by their own message besides."""

_STATE_AFTER: dict[Outcome, HopState] = {
    "accepted": "waiting", "done": "done", "caught": "caught", "failed": "retrying", "suspected": "retrying",
    "deferred": "paused", "answered": "done", "filtered": "filtered", "aggregated": "aggregated", "delayed": "delayed",
    "dead": "dead", "edited": "dead", "replayed": "replayed", "dropped": "dropped",
}


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """A stage's stored input, without its body. `at` in seconds since the epoch, `size` in bytes."""

    place: Place
    at: float
    cause: str = ""
    channel: str = ""
    size: int = 0


class Hop(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One stage that a message reached. `parent` is the index of the hop that led here, -1 for the first."""

    message: str
    run: int
    flow: str
    stage: str
    state: HopState
    parent: int = -1
    depth: int = 0
    stored: float = 0.0
    attempts: tuple[Action, ...] = ()
    away: str = ""
    """The connection that it waits for, `connection/partner`, while that system is away."""
    away_since: float = 0.0

    @property
    def place(self) -> tuple[str, int, str, str]:
        """Which stage of which message; unique under one root."""
        return self.message, self.run, self.flow, self.stage


class Story(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A message from outside, and all that came of it; hops in the order of a tree, parents first."""

    id: str
    state: MessageState
    channel: str = ""
    flow: str = ""
    at: float = 0.0
    ended: float = 0.0
    hops: tuple[Hop, ...]


def tell(root: str, inputs: Iterable[Input], actions: Iterable[Action], dead: Iterable[Place] = ()) -> Story:
    """The story of the message `root`; actions in the order of storing, which holds when a clock jumps.

    Raises NotFoundError where nothing is known of it.
    """
    stored = {_key(item.place): item for item in inputs}
    by_place: dict[tuple[str, int, str, str], list[Action]] = defaultdict(list)
    for action in actions:
        by_place[action.message, action.run, action.flow, action.stage].append(action)
    letters = {_key(place) for place in dead}
    places = {*stored, *by_place, *letters}
    if not places:
        raise NotFoundError("nothing is known of this message", where=root,
                            remedy="arintctl message list shows the newest; older ones may have been trimmed")
    hops = [_hop(place, stored.get(place), by_place[place], place in letters)
            for place in places]
    ordered = _as_tree(hops, stored)
    return _story(root, ordered, stored)


def held_up(story: Story, away: Mapping[str, float], resources: Mapping[str, Resource]) -> Story:
    """The story, with what its open hops wait for: `away` has since when each connection's system is away. Pure."""
    flows = {one.name: one for one in resources.values() if isinstance(one, Flow)}
    hops = tuple(_held_up(hop, _connection_of(hop, flows), away) for hop in story.hops)
    return msgspec.structs.replace(story, hops=hops, state=state_of(hops))


def _held_up(hop: Hop, connection: str, away: Mapping[str, float]) -> Hop:
    if hop.state not in HELD_UP or connection not in away:
        return hop
    return msgspec.structs.replace(hop, state="paused", away=f"connection/{connection}", away_since=away[connection])


def _connection_of(hop: Hop, flows: Mapping[str, Flow]) -> str:
    """The connection that the stage of this hop sends to; empty where it sends to none, or its flow is gone."""
    try:
        program = compile_flow(flows[hop.flow], flows) if hop.flow in flows else implicit_program(hop.flow)
        target = program.stage(hop.stage).target
    except ArintError:
        return ""
    kind, _, name = target.partition("/")
    return name if kind == "connection" else ""


def state_of(hops: Iterable[Hop]) -> MessageState:
    """Where a message stands, from all its hops."""
    states = {hop.state for hop in hops}
    if "dead" in states:
        return "dead"
    if states & {"waiting", "delayed", "retrying"}:
        return "processing"
    return "paused" if "paused" in states else "done"


def _key(place: Place) -> tuple[str, int, str, str]:
    return place.message, place.run, place.flow, place.stage


def _hop(place: tuple[str, int, str, str], stored: Input | None, attempts: Sequence[Action], is_dead: bool) -> Hop:
    message, run, flow, stage = place
    state: HopState = "dead" if is_dead else _STATE_AFTER[attempts[-1].outcome] if attempts else "waiting"
    at = stored.at if stored else attempts[0].at if attempts else 0.0
    return Hop(message=message, run=run, flow=flow, stage=stage, state=state, stored=at, attempts=tuple(attempts))


def _as_tree(hops: Sequence[Hop], stored: Mapping[tuple[str, int, str, str], Input]) -> list[Hop]:
    """Parents first, each followed by what came of it, in the order of time."""
    by_time = sorted(hops, key=lambda hop: (hop.stored, hop.run, hop.stage != "start", hop.stage))
    named: _Named = defaultdict(list)
    children: dict[Hop | None, list[Hop]] = defaultdict(list)
    calls = {hop.message: hop for hop in by_time if hop.attempts and hop.attempts[-1].outcome == "answered"}
    for hop in by_time:
        cause = known.cause if (known := stored.get(hop.place)) else ""
        # The record of an immediate call does not name what was stored on its way: that names the call as its cause.
        children[_parent(hop, named, cause) or _caller_of(hop, calls, cause)].append(hop)
        for name in _names_stored_by(hop):
            named[name, ""].append(hop)
            named[name, hop.message].append(hop)
    ordered: list[Hop] = []
    waiting = [(hop, -1, 0) for hop in reversed(children[None])]
    while waiting:
        hop, parent, depth = waiting.pop()
        waiting += [(child, len(ordered), depth + 1) for child in reversed(children[hop])]
        ordered.append(msgspec.structs.replace(hop, parent=parent, depth=depth))
    return ordered


def _caller_of(hop: Hop, calls: Mapping[str, Hop], cause: str) -> Hop | None:
    """The immediate call that led to a hop: it caused the hop's message, or this went on without its caller."""
    found = calls.get(cause) or calls.get(hop.message)
    return found if found is not hop else None


def _parent(hop: Hop, named: _Named, cause: str) -> Hop | None:
    """The hop that names this one among what it stored next; of several, the latest before it.

    Its own message before the one that caused it, and that before any other: the parts of a split are many.
    """
    by_stage = (hop.run, hop.flow, hop.stage)
    for message in (hop.message, cause, ""):
        for name in (hop.place, by_stage):
            if found := named.get((name, message)):
                return found[-1]
    return None


def _names_stored_by(hop: Hop) -> Iterator[_Name]:
    """What the attempts of a hop stored next: named by stage, by flow and stage, or by the whole subject."""
    for attempt in hop.attempts:
        for name in attempt.to:
            if name.startswith("m."):
                place = parse_place(name)
                yield place.message, place.run, place.flow, place.stage
            else:
                flow, _, stage = name.replace("/", ".").rpartition(".")
                yield hop.run, flow or hop.flow, stage


def _story(root: str, hops: Sequence[Hop], stored: Mapping[tuple[str, int, str, str], Input]) -> Story:
    first = hops[0]
    known = stored.get(first.place)
    channel = known.channel if known else ""
    channel = channel or next((action.channel for action in first.attempts if action.channel), "")
    state = state_of(hops)
    moments = [action.at + action.took for hop in hops for action in hop.attempts]
    return Story(id=root, state=state, channel=channel, flow=first.flow, at=first.stored, hops=tuple(hops),
                 ended=max(moments, default=0.0) if state in ("done", "dead") else 0.0)
