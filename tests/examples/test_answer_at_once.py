"""The how-to page "Answering at once", done as it says on a running cluster: apply, call, ask why, replace."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.hostile.system import System, eventually

PAGE = Path(__file__).parents[2] / "docs/how-to/answer-at-once.md"
FENCE = re.compile(r"^```\w+ (shop/[\w.]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("at-once")) as system:
        system.write({found[1]: found[2] for found in FENCE.finditer(PAGE.read_text())})
        system.ctl("apply", "shop")
        yield system


def test_a_price_colocated(system: System) -> None:
    found = httpx.get(system.url("/prices/tea?currency=CHF"))
    assert found.json() == {"sku": "tea", "price": 3.5, "currency": "CHF"}
    missing = httpx.get(system.url("/prices/ink"))
    assert (missing.status_code, missing.json()["detail"]) == (404, "there is no ink")
    assert httpx.get(system.url("/prices")).text == "sku,price\ntea,3.5\nrum,19.0\n"


def test_an_order_by_a_flow_and_its_story(system: System) -> None:
    made = httpx.post(system.url("/orders"), json={"id": "A7", "sku": "rum", "quantity": 2}, timeout=20.0)
    assert (made.status_code, made.headers["location"]) == (201, "/orders/A7")
    assert made.json() == {"id": "A7", "total": 38.0}
    call = made.headers["x-message-id"]
    eventually(lambda: "dispatch.start" in system.run("why", call).stdout
               and "answered 201" in system.run("why", call).stdout, explain=lambda: system.run("why", call))
    story = system.json("why", call)
    assert (story["state"], story["channel"]) == ("done", "orders")
    assert [hop["stage"] for hop in story["hops"]] == ["immediate", "start"]
    assert [hop.get("parent", -1) for hop in story["hops"]] == [-1, 0]
    assert call in {one["id"] for one in system.json("message", "list")}
    refused = httpx.post(system.url("/orders"), json={"id": "A8", "sku": "ink"}, timeout=20.0)
    assert refused.status_code == 409
    eventually(lambda: "ink cannot be ordered" in system.run("why", refused.headers["x-message-id"]).stdout)


def test_a_new_version_comes_in_without_a_failed_request_and_a_broken_one_not_at_all(system: System) -> None:
    statuses: dict[str, set[int]] = {"/orders": set(), "/prices/tea": set()}
    ended = threading.Event()

    def call() -> None:
        with httpx.Client(timeout=20.0) as client:
            while not ended.wait(0.03):  # the channel takes 200 a second
                order = client.post(system.url("/orders"), json={"id": "A9", "sku": "tea"})
                statuses["/orders"].add(order.status_code)
                statuses["/prices/tea"].add(client.get(system.url("/prices/tea")).status_code)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        code = (system.folder / "shop/shop.py").read_text()
        system.write({"shop/shop.py": code.replace("3.5", "4.5")})
        system.ctl("apply", "shop")
        eventually(lambda: httpx.get(system.url("/prices/tea")).json()["price"] == 4.5)
        order = httpx.post(system.url("/orders"), json={"id": "B1", "sku": "tea"}, timeout=20.0)
        assert order.json()["total"] == 4.5
        system.write({"shop/shop.py": "import nowhere_at_all\n"})
        assert "nowhere_at_all" in system.run("apply", "shop").stderr
        assert httpx.get(system.url("/prices/tea")).json()["price"] == 4.5
    finally:
        ended.set()
        for caller in callers:
            caller.join()
    assert statuses == {"/orders": {201}, "/prices/tea": {200}}


def test_what_cannot_be_is_told_at_apply(system: System) -> None:
    wrong = """
kind: Channel
name: a
delivery: imediate
http: {path: /a, methods: [GOT]}
to: flow/order
---
kind: Channel
name: b
delivery: immediate
http: {path: "/a/{b", limits: {rate: often}}
to: flow/order
---
kind: Service
name: c
source: shop/shop.py:price
colocate: true
user: nobody
"""
    system.write({"wrong.yaml": wrong})
    told = system.refused("apply", "wrong.yaml")
    for words in ('wrong.yaml:4:11: delivery: \'imediate\' is not allowed here (did you mean "immediate"?)',
                  "'GOT' is not allowed here (did you mean \"GET\"?)", "such as 100/s, 5/m, 1000/h",
                  "wrong.yaml:17:11: colocate: what has `user`"):
        assert words in told
