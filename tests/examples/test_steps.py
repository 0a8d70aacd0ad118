"""The how-to pages about steps, followed word by word on one running cluster."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from tests.examples.test_how_to import follow
from tests.hostile.system import System, eventually


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("steps")) as system:
        yield system


def rows(system: System, database: str, query: str) -> list[tuple[Any, ...]]:
    try:
        with sqlite3.connect(f"file:{system.home}/data/{database}?mode=ro", uri=True, timeout=30) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


def states(system: System, message: str) -> list[tuple[str, str]]:
    return [(hop["stage"], hop["state"]) for hop in system.json("why", message)["hops"]]


def test_an_order_is_split_and_gathered(system: System) -> None:
    follow(system, "split-and-gather.md")
    system.ctl("apply", "parts")
    lines = [{"sku": "bolt", "qty": 4}, {"sku": "nut", "qty": 0}, {"sku": "rod", "qty": 2}]
    message = system.post("/parts", json.dumps({"id": "A1", "lines": lines}).encode())
    system.wait_state("/parts", message, "done")
    assert rows(system, "parts.db", "select * from orders") == [("A1", 2, 15.0)]
    assert sorted(rows(system, "parts.db", "select sku, qty from lines")) == [("bolt", 4), ("rod", 2)]
    eventually(lambda: system.json("why", message)["state"] == "done")
    found = states(system, message)
    assert sum(state == "filtered" for _, state in found) == 1
    assert sum(state == "aggregated" for _, state in found) == 3
    story = system.ctl("why", message)
    assert "3 parts" in story and "into " in story


def test_a_dead_part_takes_its_place_when_it_is_replayed(system: System) -> None:
    follow(system, "split-and-gather.md")
    code = system.folder / "parts/price.py"
    right = code.read_text()
    code.write_text(right.replace('line["qty"] * 2.5', '1 / (line["qty"] - 13)'))
    system.ctl("apply", "parts")
    lines = [{"sku": "bolt", "qty": 13}, {"sku": "rod", "qty": 14}]
    message = system.post("/parts", json.dumps({"id": "B2", "lines": lines}).encode())
    system.wait_state("/parts", message, "dead")
    code.write_text(right)
    system.ctl("apply", "parts")
    system.ctl("dlq", "replay", message)
    eventually(lambda: rows(system, "parts.db", "select lines from orders where of_order = 'B2'") == [(2,)])


def test_messages_wait_are_paced_and_enriched(system: System) -> None:
    follow(system, "wait-pace-and-ask.md")
    system.ctl("apply", "pace")
    for number in range(8):
        system.post("/pace", json.dumps({"sku": f"s{number}", "customer": 7 + number % 2}).encode())
    eventually(lambda: len(rows(system, "pace.db", "select * from seen")) == 8, 20,
               lambda: system.ctl("message", "list", "--flow", "pace"))
    seen = rows(system, "pace.db", "select customer from seen")
    assert {customer for (customer,) in seen} == {"Ada", "Grace"}
    late = system.post("/pace", json.dumps({"sku": "x", "customer": 9, "not_before": "2999-01-01T00:00:00Z"}).encode())
    eventually(lambda: ("delayed" in [state for _, state in states(system, late)]))
    assert "waits for its time" in system.ctl("why", late)


def test_moves_of_one_account_stay_in_order(system: System) -> None:
    follow(system, "keep-order.md")
    system.ctl("apply", "order")
    for number in range(60):
        system.post("/moves", json.dumps({"account": f"a{number % 5}", "number": number}).encode())
    eventually(lambda: len(rows(system, "order.db", "select * from moves")) + len(system.json("dlq", "list")) >= 60)
    found = defaultdict(list)
    for account, number in rows(system, "order.db", "select account, number from moves order by rowid"):
        found[account].append(number)
    assert all(numbers == sorted(numbers) for numbers in found.values())
    assert sum(map(len, found.values())) > 50
