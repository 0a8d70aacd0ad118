"""The sweep's decision, against a world where all happens in any order: it never takes what is referred to."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from arint.bus.sweep import GRACE, SETTLE, Note, Suspects, is_live

WORST_STORE = 40.0
"""Seconds between a note and the message that it announces, at most: see RENEW, and a committer's deadline."""


def test_a_young_note_keeps_and_an_old_one_only_with_its_message() -> None:
    note = Note("m.a.a.0.f.start", 100.0, 1)
    assert is_live([note], (), 100.0 + GRACE - 1)
    assert not is_live([note], (), 100.0 + GRACE)
    assert is_live([note], {note.referrer}, 1e9)
    assert not is_live([], (), 0.0)


def test_what_was_noted_meanwhile_is_judged_anew() -> None:
    suspects = Suspects()
    first = {"b": [Note("m", 0.0, 1)]}
    assert suspects.judge(first, 0.0) == set()
    assert suspects.judge({"b": [Note("m", 0.0, 2)]}, SETTLE) == set()
    assert suspects.judge({"b": [Note("m", 0.0, 2)]}, SETTLE * 2) == {"b"}
    assert suspects.judge({}, SETTLE * 3) == set()


@dataclass
class Body:
    notes: dict[str, tuple[float, int]] = field(default_factory=dict)
    present: bool = True


class World(RuleBasedStateMachine):
    """Messages that are stored, derived, trimmed and buried, by writers that stop between any two of their steps."""

    messages = Bundle("messages")
    writes = Bundle("writes")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.steady = 0.0
        self.ids = itertools.count()
        self.sequences = itertools.count(1)
        self.bodies: dict[str, Body] = {}
        self.stored: dict[str, str] = {}
        self.announced: dict[str, float] = {}
        self.suspects = Suspects()
        self.listed: dict[str, list[Note]] = {}
        self.looked: set[str] = set()
        self.to_take: dict[str, list[Note]] = {}

    def note(self, body: str, referrer: str) -> None:
        self.bodies[body].notes[referrer] = (self.now, next(self.sequences))
        self.announced[referrer] = self.steady

    def notes(self, body: str) -> list[Note]:
        return [Note(referrer, at, sequence) for referrer, (at, sequence) in self.bodies[body].notes.items()]

    @rule(target=writes)
    def upload(self) -> tuple[str, str]:
        body, message = f"b{next(self.ids)}", f"m.{next(self.ids)}"
        self.bodies[body] = Body()
        self.note(body, message)
        return body, message

    @rule(target=messages, write=consumes(writes))
    def store(self, write: tuple[str, str]) -> str:
        body, message = write
        if self.steady - self.announced[message] > WORST_STORE:  # given up; whoever does it again notes it again
            self.note(body, message) if self.is_referred(body) else None
            if not self.is_referred(body):
                return message
        self.stored[message] = body
        return message

    def is_referred(self, body: str) -> bool:
        return body in self.stored.values()

    @rule(target=writes, source=messages)
    def derive(self, source: str) -> tuple[str, str]:
        """The note of what is stored next: only while the source is stored. It is not trimmed before that is done."""
        body = self.stored.get(source)
        message = f"m.{next(self.ids)}"
        if body is None:
            self.bodies[f"b{message}"] = Body()
            self.note(f"b{message}", message)
            return f"b{message}", message
        self.note(body, message)
        self.stored[message] = body  # its input is not acked before: as one step, seen from the trimming
        return body, message

    @rule(message=consumes(messages))
    def trim(self, message: str) -> None:
        self.stored.pop(message, None)

    @rule(seconds=st.sampled_from([1.0, 5.0, 30.0, SETTLE, GRACE]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.steady += seconds

    @rule(seconds=st.sampled_from([-3600.0, 3600.0]))
    def clock_jumps(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def list_notes(self) -> None:
        self.listed = {name: self.notes(name) for name, body in self.bodies.items() if body.present}
        self.looked.clear()

    @rule()
    def look_at_messages(self) -> None:
        """After the listing, at some other time: notes and messages are not read in one moment."""
        dead = {name: notes for name, notes in self.listed.items() if self.bodies[name].present and not is_live(
            notes, {note.referrer for note in notes if self.stored.get(note.referrer) == name}, self.now)}
        self.to_take = {name: dead[name] for name in self.suspects.judge(dead, self.steady)}

    @rule()
    def take(self) -> None:
        for name, notes in self.to_take.items():
            if {note.sequence for note in self.notes(name)} == {note.sequence for note in notes}:
                self.bodies[name].present = False
        self.to_take = {}

    @invariant()
    def every_body_that_is_referred_to_is_there(self) -> None:
        assert all(self.bodies[body].present for body in self.stored.values())


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=150, stateful_step_count=60)
