"""Nothing lost, nothing twice, whatever is killed: the bounded form of the drill that `make bench` runs at length."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arint.engines.procfs import start_time
from tests.chaos.checker import judge, outcome
from tests.chaos.drill import drill
from tests.chaos.faults import pid_of
from tests.chaos.mix import digest, mixed

ORDERS = int(os.environ.get("ARINT_CHAOS_ORDERS", "17100"))
"""With all that goes with them: 20,000 messages."""


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_nothing_is_lost_and_nothing_arrives_twice(tmp_path: Path) -> None:
    report = drill(tmp_path / "home", ORDERS, interval=2.0, patience=120.0)
    print(report.line)
    assert report.verdict.clean, (report.line, report.verdict, report.troubles)
    assert report.refused < report.mix.calls / 2, report.line
    assert not report.troubles


@pytest.mark.chaos
@pytest.mark.timeout(240)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_drill_that_is_told_to_end_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    """As a shell starts it in the background: with SIGINT ignored."""
    running = subprocess.Popen(
        ["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-m", "tests.chaos.drill"],
        env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (pids := [pid for home in tmp_path.glob("arint-drill-*/home") for name in ("agent", "nats", "runner-1")
                        if (pid := pid_of(home, name)) is not None]) or len(pids) < 3:
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    running.send_signal(number)
    assert running.wait(120) == 130
    assert not [pid for pid in pids if start_time(pid) is not None]  # a zombie runs no longer
    assert not list(tmp_path.glob("arint-drill-*"))


def test_the_judge_sees_what_is_lost_twice_unknown_and_wrong() -> None:
    verdict = judge({"order 1": 2, "order 2": 4, "order 3": 6, "asked 7": 14}, {"asked 8": 16, "asked 9": 18},
                    {"order 1": [2], "order 2": [4, 4], "asked 7": [15], "asked 9": [18], "row 5": ["x"]})
    assert (verdict.lost, verdict.twice, verdict.unknown, verdict.wrong) == (["order 3"], ["order 2"], ["row 5"],
                                                                             ["asked 7"])
    assert not verdict.clean
    assert judge({"order 1": 2}, {"asked 8": 16}, {"order 1": [2]}).clean


def test_the_judge_reads_rows_groups_files_and_answers(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "chaos.db") as connection:
        connection.execute("create table arrived (number integer, doubled integer)")
        connection.executemany("insert into arrived values (?, ?)", [(1, 2), (2, 4), (2, 4)])
        connection.execute("create table baskets (number integer, lines text)")
        connection.execute("insert into baskets values (0, '[0, 2]')")
        connection.execute("create table tallies (members text)")
        connection.executemany("insert into tallies values (?)", [(json.dumps([0, 1]),), (json.dumps([1]),)])
    (tmp_path / "papers-out").mkdir()
    for name in ("3.txt", "3-2.txt", ".arint-7.tmp"):
        (tmp_path / "papers-out" / name).write_bytes(b"paper")
    assert outcome(tmp_path, {"answer 5": 10}) == {
        "order 1": [2], "order 2": [4, 4], "basket 0": [[0, 2]], "member 0": [0], "member 1": [1, 1],
        "paper 3": [digest(b"paper")] * 2, "answer 5": [10]}


def test_the_mix_is_in_proportion_and_its_failpoints_are_chances() -> None:
    for orders in (0, 100, 20_000, 200_000):
        mix = mixed(orders)
        assert mix.orders == orders and 4 <= mix.scans <= 100
        assert all(0 < float(pair.partition("=")[2]) <= 1 for pair in mix.failpoints.split(","))
