"""A message's story as a tree of lines: when, where, which attempt, what became of it, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from arint.bus.subjects import parse_place
from arintctl.layout import wrapped
from arintctl.text import clock, lasting, octets_text, printable

if TYPE_CHECKING:
    from arint.actions import Action
    from arint.operations.story import Hop, Story

_WAITING = {"waiting": "waits for a worker", "delayed": "waits for its time",
            "retrying": "will be tried again", "paused": "waits for the system",
            "dead": "is a dead letter: arintctl dlq show {id}"}


def story_text(story: Story, width: int | None = None) -> str:
    """The whole story; what is longer than `width` is wrapped beneath itself."""
    return "\n".join([*_headline(story, width), *_lines(story.hops, width)])


def _headline(story: Story, width: int | None) -> Iterator[str]:
    took = f" after {lasting(story.ended - story.at)}" if story.ended > story.at else ""
    came = f"by channel {story.channel} " if story.channel else ""
    state, origin = f"{story.id}  {story.state}{took}", f"came {came}at {clock(story.at)}"
    whole = printable(f"{state}; {origin}")
    yield from [whole] if width is None or len(whole) <= width else [printable(state), printable(origin)]


def _lines(hops: Sequence[Hop], width: int | None) -> Iterator[str]:
    """Every hop under its parent, its attempts beneath it."""
    for index, hop in enumerate(hops):
        lead = _lead(hops, index)
        yield printable(f"{lead}{'└─ ' if _is_last(hops, index) else '├─ '}{_title(hop, hops)}")
        below = lead + ("   " if _is_last(hops, index) else "│  ")
        bar = "│  " if _has_child(hops, index) else "   "
        for text in _attempts(hop):
            indent = " " * (len(text) - len(text.lstrip()) + 2)
            yield wrapped(printable(text), width, below + bar, f"{below}{bar}{indent}")


def _title(hop: Hop, hops: Sequence[Hop]) -> str:
    """The place; what differs from the first hop is told: another message, another run."""
    others = [f"message {hop.message}"] if hop.message != hops[0].message else []
    others += [f"run {hop.run}"] if hop.run else []
    more = f" ({', '.join(others)})" if others else ""
    return f"{hop.flow}.{hop.stage}{more}  {hop.state}"


def _attempts(hop: Hop) -> Iterator[str]:
    for action in hop.attempts:
        yield _attempt(action)
        if action.error:
            kind = f"{action.error_kind}: " if action.error_kind else ""
            yield f"    {kind}{action.error.strip().splitlines()[-1]}"
    if hop.away:
        yield f"waits for {hop.away}, which has been away since {clock(hop.away_since)[11:]}"
    elif hop.state in _WAITING:
        yield _WAITING[hop.state].format(id=hop.message)


def _attempt(action: Action) -> str:
    """One record, at its end: 12:00:01.250Z done on node/price-1, attempt 2, took 3ms, set 4."""
    words = [f"{clock(action.at + action.took)[11:]} {action.outcome}"]
    if action.status:
        words[0] += f" {action.status}"
    if action.instance:
        words[0] += f" on {action.node}/{action.instance}" if action.node else f" on {action.instance}"
    if action.outcome not in ("accepted", "suspected", "replayed", "edited", "dropped"):
        if action.outcome != "answered":
            words.append(f"attempt {action.attempt}")
        words.append(f"took {lasting(action.took)}")
    if action.outcome == "aggregated" and action.to:
        words.append(f"into {parse_place(action.to[0]).message}")
    if action.parts:
        words.append(f"{action.parts} parts")
    if action.change_set:
        words.append(f"set {action.change_set}")
    if action.outcome == "accepted" and action.size:
        words.append(octets_text(action.size))
    if action.next_try:
        words.append(f"next try {clock(action.next_try)[11:]}")
    return ", ".join(words)


def _lead(hops: Sequence[Hop], index: int) -> str:
    """The bars left of a hop: one for each ancestor, drawn where that one has a later sibling."""
    bars: list[str] = []
    parent = hops[index].parent
    while parent >= 0:
        bars.append("   " if _is_last(hops, parent) else "│  ")
        parent = hops[parent].parent
    return "".join(reversed(bars))


def _is_last(hops: Sequence[Hop], index: int) -> bool:
    return not any(hop.parent == hops[index].parent for hop in hops[index + 1:])


def _has_child(hops: Sequence[Hop], index: int) -> bool:
    return any(hop.parent == index for hop in hops[index + 1:])
