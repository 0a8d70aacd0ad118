"""The example's second system, as a process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.patience import PATIENCE

PARTNER = Path(__file__).parents[2] / "examples/orders/partner.py"
Start = Callable[..., httpx.Client]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[tuple[subprocess.Popen[str], httpx.Client]] = []

    def start_(*arguments: str) -> httpx.Client:
        process = subprocess.Popen([sys.executable, str(PARTNER), "--port", "0", *arguments], stdout=subprocess.PIPE,
                                   text=True)
        assert process.stdout is not None
        port = process.stdout.readline().split()[-1]
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5, trust_env=False)
        running.append((process, client))
        return client

    yield start_
    for process, client in running:
        client.close()
        process.terminate()
        assert process.wait(5) == 0
        assert process.stdout is not None
        process.stdout.close()


def test_each_key_is_kept_once_also_after_a_restart(start: Start, tmp_path: Path) -> None:
    record = tmp_path / "partner.jsonl"
    client = start("--record", str(record))
    assert client.post("/orders", json={"id": 1}, headers={"Idempotency-Key": "a"}).status_code == 201
    assert client.post("/orders", json={"id": 1}, headers={"Idempotency-Key": "a"}).status_code == 200
    assert client.post("/callbacks", json={"id": 1}, headers={"Idempotency-Key": "a"}).status_code == 201
    with record.open("a") as file:
        file.write('{"kind": "ord')
    again = start("--record", str(record))
    assert again.post("/orders", json={"id": 1}, headers={"Idempotency-Key": "a"}).status_code == 200
    assert again.get("/received").json() == {"orders": [{"id": 1}], "callbacks": [{"id": 1}], "repeated": 1,
                                             "refused": 0}
    assert again.post("/orders", json={"id": 2}, headers={"Idempotency-Key": "b"}).status_code == 201
    assert start("--record", str(record)).get("/received").json()["orders"] == [{"id": 1}, {"id": 2}]


def test_modes(start: Start) -> None:
    client = start("--schedule", "failing")
    refused = client.post("/orders", json={})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert client.get("/health").status_code == 503
    assert client.post("/control", json={"mode": "broken"}).status_code == 200
    assert client.post("/orders", json={}).status_code == 500
    client.post("/control", json={"mode": "half"})
    with pytest.raises(httpx.RemoteProtocolError):
        client.post("/orders", json={})
    client.post("/control", json={"mode": "hanging"})
    with pytest.raises(httpx.ReadTimeout):
        client.post("/orders", json={}, timeout=0.3)
    client.post("/control", json={"mode": "ok"})
    assert client.post("/orders", json={}).status_code == 201
    assert client.post("/control", json={"mode": "merry"}).status_code == 400
    assert client.post("/orders", content=b"no").status_code == 400
    assert client.get("/received").json()["refused"] == 5


def test_it_comes_back_by_schedule(start: Start) -> None:
    client = start("--schedule", "failing:0.5,ok")
    deadline = time.monotonic() + PATIENCE
    assert client.get("/health").status_code == 503
    while client.get("/health").status_code != 200:
        assert time.monotonic() < deadline
    client.post("/control", json={"mode": "failing", "for": 0.2})
    assert client.get("/health").status_code == 503
    while client.get("/health").status_code != 200:
        assert time.monotonic() < deadline


def test_the_samples_are_json() -> None:
    samples = sorted((PARTNER.parent / "samples").glob("*.json"))
    assert len(samples) == 9
    assert len({json.loads(sample.read_text())["id"] for sample in samples}) == 9
