"""Groups of messages on their way to becoming one: what belongs together, and when it is complete. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Literal

import msgspec

Reason = Literal["size", "condition", "split", "full", "time"]
"""Why a group is complete: `full` is said of one that would be too large with more, `time` of one that waited long."""

MOST_OCTETS = 4 * 2**20
"""Of all bodies of a group together."""


class Rule(msgspec.Struct, frozen=True):
    """When a group is complete: `size` members (0: in any number), or `after` seconds from the first one's storing."""

    size: int
    after: float


class Member(msgspec.Struct, frozen=True):
    """One message, or several that were made one already (`weight`).

    `sequence` is its place in the stream, `at` when the first of it was stored, `order` where it stands in the group.
    `ends`: the group is complete with it. `expected`: how many there are to be, where that is known.
    """

    sequence: int
    at: float
    octets: int
    order: int
    weight: int = 1
    ends: bool = False
    expected: int = 0


class Group:
    """The members of one key, so far."""

    __slots__ = ("_ends", "_expected", "key", "members", "octets", "since", "weight")

    def __init__(self, key: str) -> None:
        self.key = key
        self.members: dict[int, Member] = {}
        self.since = float("inf")
        self.octets = self.weight = self._expected = 0
        self._ends = False

    def add(self, member: Member) -> None:
        """One more."""
        self.members[member.sequence] = member
        self.since = min(self.since, member.at)
        self.octets += member.octets
        self.weight += member.weight
        self._expected = max(self._expected, member.expected)
        self._ends |= member.ends

    def reason(self, rule: Rule) -> Reason | None:
        """Why it is complete, other than by time; None while it is not."""
        if self._expected and self.weight >= self._expected:
            return "split"
        if self._ends:
            return "condition"
        if rule.size and self.weight >= rule.size:
            return "size"
        return "full" if self.octets >= MOST_OCTETS else None

    @property
    def in_order(self) -> list[Member]:
        """The members as they stand in what is made of them."""
        return sorted(self.members.values(), key=lambda member: (member.order, member.sequence))


class Groups:
    """All open groups of one stage. What is complete is taken out: a later member of its key begins a new one."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._open: dict[str, Group] = {}
        self._due: list[tuple[float, str]] = []  # when each was begun; some are gone by now

    def add(self, key: str, member: Member) -> Group:
        """The group of this key with one more member."""
        group = self._open.get(key)
        if group is None:
            group = self._open[key] = Group(key)
        if member.at < group.since:
            heapq.heappush(self._due, (member.at, key))
        group.add(member)
        return group

    def expired(self, key: str, at: float) -> Group | None:
        """The open group of this key, if a message that was stored at `at` came too late for it.

        By the time of storing, not by the clock: so it makes no difference how late its members are looked at.
        """
        group = self._open.get(key)
        return group if group is not None and at >= group.since + self.rule.after else None

    def get(self, key: str) -> Group | None:
        """The open group of this key."""
        return self._open.get(key)

    def take(self, group: Group) -> None:
        """It is open no more."""
        if self._open.get(group.key) is group:
            del self._open[group.key]

    def due(self, now: float) -> Iterator[Group]:
        """Those whose time is over at `now`, up to which all is known; each is open until taken, and told of once."""
        told: set[str] = set()
        while self._due and self._due[0][0] + self.rule.after <= now:
            since, key = heapq.heappop(self._due)
            group = self._open.get(key)
            if group is not None and group.since == since and key not in told:
                told.add(key)
                yield group

    @property
    def next_due(self) -> float | None:
        """When to ask again."""
        while self._due:
            since, key = self._due[0]
            group = self._open.get(key)
            if group is not None and group.since == since:
                return since + self.rule.after
            heapq.heappop(self._due)
        return None

    @property
    def open(self) -> list[Group]:
        """All that are open."""
        return list(self._open.values())
