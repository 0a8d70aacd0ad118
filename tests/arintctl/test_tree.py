"""A story as `why` draws it."""

from __future__ import annotations

from arint.actions import Action
from arint.bus.subjects import Place
from arint.operations.story import Input, held_up, tell
from arintctl.tree import story_text


def test_what_waits_for_a_system_says_for_which_and_since_when() -> None:
    story = tell("R", [Input(place=Place("R", "R", 0, "connection=crm", "start"), at=1.0)], [])
    assert story_text(held_up(story, {"crm": 5.0}, {})).splitlines()[-1].strip() == (
        "waits for connection/crm, which has been away since 00:00:05.000Z")


def test_the_whole_story_as_a_tree() -> None:
    def act(stage: str, outcome: str, at: float, **more: object) -> Action:
        return Action(root="R", message="R", flow="orders", stage=stage, at=at, node="n1", outcome=outcome,  # type: ignore[arg-type]
                      change_set=3, **{"attempt": 1, "took": 0.002, "instance": "runner-1", **more})  # type: ignore[arg-type]

    def put(stage: str, at: float) -> Input:
        return Input(place=Place("R", "R", 0, "orders", stage), at=at, channel="orders-in")

    story = tell("R", [put("start", 1.0), put("1-call-price", 1.1), put("2-send-db", 1.2)], [
        act("start", "done", 1.0, to=("orders/1-call-price", "orders/2-send-db")),
        act("1-call-price", "failed", 1.1, instance="price-1", error="boom\nKeyError: 'x'", error_kind="KeyError",
            next_try=5.0),
        act("1-call-price", "done", 5.1, attempt=2, instance="price-1"),
        act("2-send-db", "dead", 1.3, error="\x1b[31mno table", error_kind="rejected")])
    assert story_text(story).splitlines() == [
        "R  dead after 4.1s; came by channel orders-in at 1970-01-01T00:00:01.000Z",
        "└─ orders.start  done",
        "   │  00:00:01.002Z done on n1/runner-1, attempt 1, took 2ms, set 3",
        "   ├─ orders.1-call-price  done",
        "   │     00:00:01.102Z failed on n1/price-1, attempt 1, took 2ms, set 3, next try 00:00:05.000Z",
        "   │         KeyError: KeyError: 'x'",
        "   │     00:00:05.102Z done on n1/price-1, attempt 2, took 2ms, set 3",
        "   └─ orders.2-send-db  dead",
        "         00:00:01.302Z dead on n1/runner-1, attempt 1, took 2ms, set 3",
        "             rejected: \\x1b[31mno table",
        "         is a dead letter: arintctl dlq show R",
    ]
    assert all(len(line) <= 80 for line in story_text(story, 80).splitlines())
