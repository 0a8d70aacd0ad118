"""The story of a message, from records alone."""

from __future__ import annotations

from itertools import pairwise

import pytest

from arint.actions import Action, Outcome
from arint.bus.subjects import Place
from arint.errors import NotFoundError
from arint.operations.messages import summary
from arint.operations.story import Input, Story, held_up, tell
from arint.resources.kinds import Flow

ROOT = "01ROOT"


def action(stage: str, outcome: Outcome, at: float, *, to: tuple[str, ...] = (), attempt: int = 1, run: int = 0,
           flow: str = "orders", message: str = ROOT, error: str = "") -> Action:
    return Action(root=ROOT, message=message, run=run, flow=flow, stage=stage, attempt=attempt, at=at, outcome=outcome,
                  to=to, error=error, channel="orders-in")


def stored(stage: str, at: float, *, run: int = 0, flow: str = "orders", message: str = ROOT, cause: str = "") -> Input:
    return Input(place=Place(ROOT, message, run, flow, stage), at=at, cause=cause, channel="orders-in", size=3)


def shape(story: Story) -> list[tuple[int, str, str]]:
    return [(hop.depth, f"{hop.flow}.{hop.stage}", hop.state) for hop in story.hops]


def test_a_message_that_went_through_is_a_chain() -> None:
    story = tell(ROOT, [stored("start", 1.0), stored("1-call-price", 2.0), stored("2-send-db", 3.0)], [
        action("start", "accepted", 1.0), action("start", "done", 1.5, to=("1-call-price",)),
        action("1-call-price", "done", 2.5, to=("2-send-db",)), action("2-send-db", "done", 3.5)])
    assert shape(story) == [(0, "orders.start", "done"), (1, "orders.1-call-price", "done"),
                            (2, "orders.2-send-db", "done")]
    assert (story.state, story.channel, story.flow, story.ended) == ("done", "orders-in", "orders", 3.5)
    assert [hop.parent for hop in story.hops] == [-1, 0, 1]


def test_a_stage_whose_input_is_stored_waits() -> None:
    story = tell(ROOT, [stored("start", 1.0), stored("1-call-price", 2.0)],
                 [action("start", "done", 1.5, to=("1-call-price",))])
    assert shape(story)[1] == (1, "orders.1-call-price", "waiting")
    assert story.state == "processing"
    assert story.ended == 0.0


@pytest.mark.parametrize(("outcome", "state", "message_state"), [
    ("failed", "retrying", "processing"), ("deferred", "paused", "paused"), ("dead", "dead", "dead"),
    ("caught", "caught", "done"), ("dropped", "dropped", "done"), ("replayed", "replayed", "done"),
])
def test_the_last_record_says_how_a_stage_stands(outcome: Outcome, state: str, message_state: str) -> None:
    records = [action("start", "failed", 1.1), action("start", outcome, 1.2, attempt=2)]
    story = tell(ROOT, [stored("start", 1.0)], records)
    assert story.hops[0].state == state
    assert story.state == message_state
    assert len(story.hops[0].attempts) == 2


def test_a_dead_letter_counts_though_its_record_is_gone() -> None:
    story = tell(ROOT, [stored("start", 1.0)], [], [Place(ROOT, ROOT, 0, "orders", "start")])
    assert story.state == "dead"


def test_messages_that_a_stage_sent_elsewhere_stand_under_it() -> None:
    child = "01CHILD"
    story = tell(ROOT, [stored("start", 1.0), stored("2-send-x", 2.0),
                        stored("start", 2.1, flow="connection=db", message=child, cause=ROOT)], [
        action("start", "done", 1.5, to=("2-send-x", "connection=db.start")),
        action("2-send-x", "done", 2.6),
        action("start", "done", 2.5, flow="connection=db", message=child)])
    assert shape(story) == [(0, "orders.start", "done"), (1, "orders.2-send-x", "done"),
                            (1, "connection=db.start", "done")]


def test_a_replay_stands_under_what_was_replayed() -> None:
    again = Place(ROOT, ROOT, 1, "orders", "1-call-price").subject
    story = tell(ROOT, [stored("start", 1.0), stored("1-call-price", 2.0), stored("1-call-price", 9.0, run=1)], [
        action("start", "done", 1.5, to=("1-call-price",)), action("1-call-price", "dead", 2.5),
        action("1-call-price", "replayed", 8.9, to=(again,)), action("1-call-price", "done", 9.5, run=1)])
    assert [(hop.depth, hop.run, hop.state) for hop in story.hops] == [
        (0, 0, "done"), (1, 0, "replayed"), (2, 1, "done")]
    assert story.state == "done"


def test_nothing_known_is_an_error_with_a_remedy() -> None:
    with pytest.raises(NotFoundError, match="message list"):
        tell(ROOT, [], [])


def test_a_long_chain_is_no_recursion() -> None:
    stages = [f"{number}-call-x" for number in range(1500)]
    inputs = [stored(stage, float(number)) for number, stage in enumerate(stages)]
    actions = [action(stage, "done", float(number), to=(after,))
               for number, (stage, after) in enumerate(pairwise(stages))]
    assert tell(ROOT, inputs, actions).hops[-1].depth == 1499


def test_the_list_knows_a_message_whose_next_stage_has_no_record_yet() -> None:
    under_way = summary(ROOT, [action("start", "accepted", 1.0), action("start", "done", 1.2, to=("1-call-price",))])
    assert under_way.state == "processing"
    ended = summary(ROOT, [action("start", "done", 1.2, to=("1-call-price",)), action("1-call-price", "done", 1.4)])
    assert (ended.state, ended.stage, ended.ended) == ("done", "1-call-price", 1.4)
    failing = summary(ROOT, [action("start", "failed", 1.2, error="no such column")])
    assert (failing.state, failing.error) == ("processing", "no such column")


def test_of_several_branches_the_list_shows_the_one_that_waits() -> None:
    branches = ("0m0s0-send-post", "0m1s0-send-partner")
    waiting = summary(ROOT, [action("start", "done", 1.2, to=branches),
                             action(branches[1], "deferred", 1.3, error="answered 503"),
                             action(branches[0], "done", 1.4)])
    assert (waiting.state, waiting.stage, waiting.error) == ("paused", branches[1], "answered 503")


def test_what_waits_for_a_system_that_is_away_says_so() -> None:
    flow = Flow(name="out", steps=[{"call": "service/a"}, {"send": {"to": "connection/partner"}}])
    places = [Place("R", "R", 0, "out", "start"), Place("R", "R", 0, "out", "1-send-partner"),
              Place("R", "R", 0, "connection=crm", "start"), Place("R", "R", 0, "gone", "0-send-x")]
    story = tell("R", [Input(place=place, at=1.0) for place in places], [])
    told = held_up(story, {"partner": 7.0, "crm": 5.0}, {"Flow/out": flow})
    assert {f"{hop.flow}.{hop.stage}": (hop.state, hop.away, hop.away_since) for hop in told.hops} == {
        "out.start": ("waiting", "", 0.0), "out.1-send-partner": ("paused", "connection/partner", 7.0),
        "connection=crm.start": ("paused", "connection/crm", 5.0), "gone.0-send-x": ("waiting", "", 0.0)}
    assert held_up(story, {"other": 7.0}, {"Flow/out": flow}) == story
