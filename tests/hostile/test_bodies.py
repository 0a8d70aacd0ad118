"""What comes in by HTTP and is not what was asked for: a clear answer or a dead letter, and the door stays open."""

from __future__ import annotations

import socket
import time

import httpx
import pytest

from tests.hostile.system import System

MANIFEST = """
kind: Service
name: echo
source: echo.py:echo
---
kind: Flow
name: orders
retry: {attempts: 2, backoff: 10ms..20ms}
steps:
  - validate: {schema: {type: object, required: [id]}}
  - map: '{"id": id}'
  - when: {if: body.id != "", then: [{call: service/echo}]}
---
kind: Channel
name: orders
http: {path: /orders, limits: {body: 400KiB, timeout: 2s}}
to: flow/orders
---
kind: Channel
name: raw
http: {path: /raw}
to: service/echo
"""
CODE = """
def echo(body: dict) -> dict:
    return body
"""
DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.fixture(scope="module")
def orders(system: System) -> System:
    system.write({"echo.py": CODE, "orders.yaml": MANIFEST})
    system.ctl("apply", "orders.yaml")
    return system


@pytest.mark.parametrize("path", ["/orders", "/raw"])
@pytest.mark.parametrize(("body", "words"), [
    (b"", "empty"),
    (b"\xff\xfe\x00id", "UTF-8"),
    (b"{'id': 1}", "JSON"),
    (b'{"id": 1', "JSON"),
    (DEEP, "nested"),
    (b'{"id": ' + DEEP + b"}", "nested"),
    (b'{"id": ' + b"9" * 10_000 + b"}", ""),
], ids=["empty", "not-utf8", "not-json", "half", "deep", "deep-inside", "long-number"])
def test_a_body_that_cannot_be_read_is_a_dead_letter_that_says_so(orders: System, path: str, body: bytes,
                                                                  words: str) -> None:
    message = orders.post(path, body)
    good = orders.post(path, b'{"id": "1"}')
    orders.wait_state(path, good, "done", patience=10.0)
    orders.wait_state(path, message, "dead", "done", patience=10.0)
    if orders.state(path, message) == "done":
        assert not words
        return
    letter = orders.dead_letter(message)
    assert words.lower() in letter["letter"]["error"].lower()
    assert letter["letter"]["kind"] == "rejected"
    assert "RecursionError" not in letter["letter"]["error"]
    assert "Traceback" not in orders.ctl("why", message)


def test_a_body_that_is_too_large_is_refused_before_it_is_read(orders: System) -> None:
    answer = httpx.post(orders.url("/orders"), content=b"x" * (401 * 1024))
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert httpx.post(orders.url("/raw"), content=iter([b"x" * 2**20] * 3)).status_code == 413
    orders.wait_state("/orders", orders.post("/orders", b'{"id": "2"}'), "done")


def test_a_body_a_byte_at_a_time_is_cut_at_the_deadline(orders: System) -> None:
    with socket.create_connection(("127.0.0.1", orders.port), timeout=20.0) as peer:
        peer.sendall(b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        began = time.monotonic()
        peer.settimeout(0.05)
        answer = b""
        while time.monotonic() - began < 15.0 and not answer:
            try:
                peer.sendall(b"x")
                answer = peer.recv(4096)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 6.0


def test_a_key_used_again_with_another_body_is_refused_and_with_the_same_is_one_message(orders: System) -> None:
    first = orders.post("/orders", b'{"id": "3"}', Idempotency_Key="k-1")
    assert orders.post("/orders", b'{"id": "3"}', Idempotency_Key="k-1") == first
    other = httpx.post(orders.url("/orders"), content=b'{"id": "4"}', headers={
        "Idempotency-Key": "k-1", "Content-Type": "application/json"})
    assert other.status_code == 422
    assert "k-1" in other.text or "key" in other.text.lower()
    orders.wait_state("/orders", first, "done")


def test_nothing_of_it_broke_a_process(orders: System) -> None:
    status = orders.json("status")
    assert status["ready"]
    assert not [item for item in status["instances"] if item.get("restarts")]
