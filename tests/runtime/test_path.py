"""The whole data path in real processes, with a real broker: HTTP in, a flow with services, a database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from arint.artifacts import pack, unpack
from arint.home import Home
from arint.ports import free_port
from arint.resources.manifests import Text, load_text
from arint.runtime.control import BusSettings, Orders
from tests.runtime.stand_in import StandInAgent
from tests.servers import NatsServer

MANIFEST = """
kind: Connection
name: warehouse
sql:
  url: "sqlite:///${ARINT_DATA}/path.db"
  setup: ["create table if not exists orders (id text, total real, seen text)"]
---
kind: Service
name: price
source: price.py:price
timeout: 2s
---
kind: Flow
name: orders
steps:
  - validate: {schema: {type: object, required: [id], properties: {id: {type: string}}}}
  - call: service/price
  - set: {body.seen: '"yes"'}
  - send: {to: connection/warehouse, statement: "insert into orders values (:id, :total, :seen)"}
retry: {attempts: 3, backoff: 50ms..200ms}
---
kind: Channel
name: orders-in
http: {path: /orders}
to: flow/orders
"""
CODE = """
import os, time
from arint import service, Context
from dataclasses import dataclass

@dataclass
class Order:
    id: str
    qty: int = 1
    do: str = ""

@service
def price(order: Order, ctx: Context) -> dict:
    if order.do == "raise":
        raise ValueError("no price")
    if order.do == "exit":
        os._exit(3)
    if order.do == "hang":
        time.sleep(30)
    if order.do == "copy":
        copy = {"id": order.id + "-copy"}
        ctx.send("connection/warehouse", copy, statement="insert into orders values (:id, 0, 'no')")
    if order.do == "copy wrongly":
        ctx.send("connection/warehouse", {"id": order.id}, statment="insert")
    if order.do == "raise once" and ctx.message.attempt == 1:
        raise ValueError("once")
    return {"id": order.id, "total": order.qty * 2.5}
"""


class DataPath:
    """One running path."""

    def __init__(self, agent: StandInAgent, home: Home, port: int, runner: Orders, price: Orders) -> None:
        self.agent, self.home, self.runner, self.price = agent, home, runner, price
        self.url = f"http://127.0.0.1:{port}/orders"

    async def send(self, **order: object) -> str:
        async with httpx.AsyncClient() as client:
            answer = await client.post(self.url, json=order)
            assert answer.status_code == 202, answer.text
            return str(answer.json()["id"])

    async def status(self, message_id: str) -> dict[str, object]:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{self.url}/messages/{message_id}")
            assert answer.status_code == 200, answer.text
            return dict(answer.json())

    def rows(self) -> dict[str, tuple[float, str]]:
        file = self.home.data / "path.db"
        if not file.exists():
            return {}
        with sqlite3.connect(file) as connection:
            try:
                found = connection.execute("select id, total, seen from orders").fetchall()
            except sqlite3.OperationalError:
                return {}
        assert len({row[0] for row in found}) == len(found), "an order stands twice in the database"
        return {identity: (total, seen) for identity, total, seen in found}

    def actions(self) -> list[dict[str, object]]:
        lines = [line for file in self.home.log.glob("actions-*.jsonl") for line in file.read_text().splitlines()]
        return [json.loads(line) for line in lines]


@pytest.fixture
async def path(tmp_path: Path, nats_tls_server: NatsServer) -> AsyncIterator[DataPath]:
    home = Home(tmp_path / "home")
    code = tmp_path / "code"
    code.mkdir()
    (code / "price.py").write_text(CODE)
    declared = [one.resource for one in load_text(Text("path.yaml", MANIFEST, code))]
    by = {kind: tuple(one for one in declared if type(one).__name__ == kind)
          for kind in ("Flow", "Service", "Connection", "Channel")}
    pem = nats_tls_server.pem("worker")
    assert pem is not None
    bus = BusSettings((nats_tls_server.server,), pem.ca, pem.certificate, pem.key)
    async with StandInAgent(home) as agent:
        digest, packed = pack(code / "price.py")
        unpack(packed, home.artifact(digest), digest)
        variables = {"ARINT_DATA": str(home.data)}
        port = free_port()
        common = {"node": "n1", "bus": bus, "home": str(home.path), "change_set": 1, "variables": variables,
                  "flows": by["Flow"], "services": by["Service"], "connections": by["Connection"]}
        runner = Orders(instance="runner-1", role="runner", **common)
        price = Orders(instance="price-1", role="service", service=by["Service"][0],
                       code=str(home.artifact(digest)), **common)
        source = Orders(instance="http-1", role="source", source="http", port=port, channels=by["Channel"], **common)
        for orders in (runner, price, source):
            await agent.start(orders)
        yield DataPath(agent, home, port, runner, price)


async def test_an_order_reaches_the_database(path: DataPath) -> None:
    message = await path.send(id="a", qty=2)
    await path.agent.until(lambda: "a" in path.rows())
    assert path.rows() == {"a": (5.0, "yes")}
    await path.agent.until(lambda: len([a for a in path.actions() if a["outcome"] == "done"]) == 3)
    assert {a["stage"] for a in path.actions()} == {"start", "1-call-price", "3-send-warehouse"}
    assert (await path.status(message))["state"] == "done"


async def test_what_is_not_valid_is_a_dead_letter_and_the_others_pass(path: DataPath) -> None:
    bad = await path.send(qty=2)
    await path.send(id="good")
    await path.agent.until(lambda: "good" in path.rows())
    await path.agent.until(lambda: any(a["outcome"] == "dead" for a in path.actions()))
    assert (await path.status(bad))["state"] == "dead"


async def test_a_service_that_raises_is_tried_again_then_dead(path: DataPath) -> None:
    await path.send(id="r", do="raise")
    await path.send(id="once", do="raise once")
    await path.agent.until(lambda: "once" in path.rows())
    await path.agent.until(lambda: any(a["outcome"] == "dead" for a in path.actions()))
    raised = [a for a in path.actions() if a.get("error") == "no price"]
    assert [a["attempt"] for a in raised] == [1, 2, 3]
    assert "r" not in path.rows()


async def test_a_service_sends_to_a_connection_in_its_own_words(path: DataPath) -> None:
    await path.send(id="c", do="copy")
    await path.send(id="w", do="copy wrongly")
    await path.agent.until(lambda: {"c", "c-copy", "w"} <= path.rows().keys())
    assert path.rows()["c-copy"] == (0.0, "no")
    found = await path.agent.until(lambda: [a for a in path.actions() if a["outcome"] == "dead"])
    assert "the options do not fit sql" in str(found[0]["error"])


async def test_a_worker_killed_loses_nothing(path: DataPath) -> None:
    await path.agent.kill("price-1")
    for number in range(50):
        await path.send(id=f"k{number}")
    await path.agent.kill("runner-1")
    await path.agent.start(path.runner)
    await path.agent.start(path.price)
    await path.agent.until(lambda: len(path.rows()) == 50, 40)


async def test_a_callable_that_hangs_uses_an_attempt_and_holds_up_nobody(path: DataPath) -> None:
    await path.send(id="h", do="hang")
    await path.send(id="quick")
    await path.agent.until(lambda: "quick" in path.rows())
    found = await path.agent.until(lambda: [a for a in path.actions() if a["outcome"] == "failed"])
    assert found[0]["error_kind"] == "timed out"


async def test_workers_end_cleanly_at_sigterm(path: DataPath) -> None:
    for process in path.agent.processes.values():
        process.terminate()
    for process in path.agent.processes.values():
        assert await process.wait() == 0
