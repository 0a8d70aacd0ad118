"""Nothing lost, nothing twice, whatever is killed: the bounded form of the drill that `make bench` runs at length."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.checker import judge
from tests.chaos.drill import drill

MESSAGES = int(os.environ.get("ARINT_CHAOS_MESSAGES", "20000"))


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_nothing_is_lost_and_nothing_arrives_twice(tmp_path: Path) -> None:
    report = drill(tmp_path / "home", MESSAGES, interval=2.0, patience=120.0)
    print(report.line)
    assert report.verdict.clean, (report.line, report.verdict, report.troubles)
    assert report.accepted == MESSAGES
    assert not report.troubles


def test_the_judge_sees_what_is_lost_twice_and_unknown(tmp_path: Path) -> None:
    import sqlite3

    database = tmp_path / "x.db"
    with sqlite3.connect(database) as connection:
        connection.execute("create table arrived (number integer, doubled integer)")
        connection.executemany("insert into arrived values (?, 0)", [(1,), (2,), (2,), (9,)])
    verdict = judge({1: "a", 2: "b", 3: "c"}, database)
    assert (verdict.lost, verdict.twice, verdict.unknown) == ([3], [2], [9])
    assert not verdict.clean
