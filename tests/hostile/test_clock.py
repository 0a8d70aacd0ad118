"""A wall clock that jumps: whatever decides on leases, silence, retries and probes goes by a clock that does not."""

from __future__ import annotations

import ast
import itertools
import time
from pathlib import Path

import pytest

from arint.actions import Action
from arint.bus.circuit import Circuit
from arint.bus.keeper import trim_point
from arint.operations.story import tell
from arint.runtime.intake import state_of
from arint.store.lease import boot_time

ROOT = Path(__file__).parents[2]
DECIDING = ["arint/store/*.py", "arint/bus/consumer.py", "arint/bus/committer.py", "arint/bus/circuit.py",
            "arint/bus/keeper.py", "arint/runtime/watchdog.py", "nodeagent/workers.py",
            "nodeagent/crew.py", "nodeagent/placing.py", "nodeagent/engine_room.py", "plugins/http/guard.py"]
TOLD = {"at"}
"""Keyword arguments that a wall clock may fill: they are shown to people, and decide nothing."""


@pytest.mark.parametrize("pattern", DECIDING)
def test_what_decides_does_not_ask_the_wall_clock(pattern: str) -> None:
    files = list(ROOT.glob(pattern))
    assert files
    for file in files:
        tree = ast.parse(file.read_text())
        told = {id(word.value) for call in ast.walk(tree) if isinstance(call, ast.Call)
                for word in call.keywords if word.arg in TOLD}
        asked = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Call) and id(node) not in told
                 and ast.unparse(node.func) in ("time.time", "datetime.now", "datetime.utcnow")]
        assert not asked, f"{file}:{asked}"


def test_a_lease_is_measured_by_the_clock_that_also_goes_on_in_sleep() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= boot_time() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_a_circuit_whose_clock_begins_anew_still_probes() -> None:
    circuit = Circuit(random=lambda: 1.0)
    circuit.failed(1000.0)
    assert not circuit.probe(0.0)
    assert circuit.probe(2000.0)


def _actions(times: list[float]) -> list[Action]:
    outcomes = ["failed", "failed", "done"]
    return [Action(root="R", message="R", flow="f", stage="start", attempt=number, at=at, outcome=outcome)  # type: ignore[arg-type]
            for number, (at, outcome) in enumerate(zip(times, outcomes, strict=True), 1)]


@pytest.mark.parametrize("times", list(itertools.permutations([0.0, 1e9, 2e9])))
def test_the_story_of_a_message_is_the_same_whatever_the_clock_said(times: tuple[float, ...]) -> None:
    actions = _actions(list(times))
    assert state_of(actions, set())["state"] == "done"
    story = tell("R", [], actions)
    assert story.state == "done"
    assert [attempt.attempt for attempt in story.hops[0].attempts] == [1, 2, 3]


@pytest.mark.parametrize("kept_from", [0, 1, 50, 10_000])
def test_nothing_unprocessed_is_trimmed_however_old_the_clock_makes_it(kept_from: int) -> None:
    assert trim_point(first=1, last=100, unprocessed={"start": 7, "1-send": None}, stages=["start", "1-send"],
                      kept_from=kept_from, fill=0.9) <= 7
