"""Databases from manifest to effect, in real processes: a polled table in, a query on the way, rows out; a data API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from arint.availability.configuration import Configuration
from arint.home import Home
from arint.ports import free_port
from arint.resources.manifests import Text, load_text
from arint.resources.variables import resolve
from arint.runtime.control import BusSettings
from nodeagent.orders import Surroundings, Task, orders_for
from tests.databases import PASSWORD, DatabaseServer
from tests.runtime.stand_in import StandInAgent
from tests.servers import NatsServer

MANIFEST = """
kind: Secret
name: pw
from: {{env: X}}
---
kind: Secret
name: clerk
from: {{env: X}}
---
kind: Secret
name: guest
from: {{env: X}}
---
kind: Connection
name: shop
sql:
  url: "{url}"
  password: {{secret: pw}}
---
kind: Connection
name: books
sql:
  url: "sqlite:///${{ARINT_DATA}}/books.db"
  setup: ["create table if not exists orders (id integer primary key, sku text, price real)",
          "create table if not exists lines (order_id integer, sku text)"]
---
kind: Flow
name: orders
retry: {{attempts: 2, backoff: 50ms..100ms}}
steps:
  - query:
      from: connection/shop
      statement: select price from stock where sku = :sku
      rows: scalar
      into: body.price
  - send:
      to: connection/books
      statement:
        - insert into orders values (:id, :sku, :price)
        - {{for_each: body.lines, statement: "insert into lines values (:order, :row)", params: {{order: body.id}}}}
---
kind: Channel
name: orders-in
sql:
  from: connection/shop
  query: select id, sku, lines from web_orders
  by: key
  key: id
  every: 50ms
to: flow/orders
---
kind: Channel
name: stock-api
http:
  path: /stock
  auth:
    keys:
      - {{name: anna, key: {{secret: clerk}}, roles: [clerk]}}
      - {{name: guest, key: {{secret: guest}}}}
to: connection/shop
delivery: immediate
queries:
  list:
    statement: select sku, price from stock
    page: {{by: sku, size: 2}}
  item:
    path: /{{sku}}
    statement: select sku, price from stock where sku = :sku
    params: {{sku: {{type: string, maxLength: 10}}}}
    rows: one
  reprice:
    method: PUT
    path: /{{sku}}
    statement: update stock set price = :price where sku = :sku
    params: {{sku: {{type: string}}, price: {{type: number, minimum: 0}}}}
    roles: [clerk]
"""


class Running:
    def __init__(self, agent: StandInAgent, home: Home, url: str, execute: Any) -> None:
        self.agent, self.home, self.url, self.execute = agent, home, url, execute

    async def ask(self, method: str, path: str, key: str = "g-key", **more: Any) -> httpx.Response:
        async with httpx.AsyncClient() as client:
            return await client.request(method, self.url + path, headers={"X-API-Key": key}, **more)


@pytest.fixture
async def running(tmp_path: Path, nats_tls_server: NatsServer, postgres: DatabaseServer) -> AsyncIterator[Running]:
    name = postgres.new_database()

    def execute(*statements: str) -> list[Any]:
        return [tuple(row) for row in postgres.execute(*statements, database=name)]

    execute("create table web_orders (id integer primary key, sku text, lines jsonb)",
            "create table stock (sku text primary key, price numeric(8,2))",
            "insert into stock values ('a', 1.50), ('b', 2.25), ('c', 3)")
    declared = {one.key: one.resource for one in load_text(
        Text("sql.yaml", MANIFEST.format(url=postgres.url(name)), tmp_path))}
    configuration = Configuration(1, declared, dict.fromkeys(declared, "r"))
    home = Home(tmp_path / "home")
    pem, port = nats_tls_server.pem("worker"), free_port()
    assert pem is not None
    around = Surroundings(node="n1", home=str(home.path), host="127.0.0.1", port=port,
                          bus=BusSettings((nats_tls_server.server,), pem.ca, pem.certificate, pem.key),
                          variables={"ARINT_DATA": str(home.data)})
    secrets = {"pw": PASSWORD.encode(), "clerk": b"c-key", "guest": b"g-key"}
    async with StandInAgent(home) as agent:
        for service in ("runner", "http", "sql"):
            await agent.start(orders_for(Task(f"{service}-1", f"system/{service}"), configuration, around,
                                         secrets=secrets))
        yield Running(agent, home, f"http://127.0.0.1:{port}/stock", execute)


def books(home: Home, query: str) -> list[Any]:
    import sqlite3

    if not (file := home.data / "books.db").exists():
        return []
    connection = sqlite3.connect(file)
    try:
        return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []
    finally:
        connection.close()


async def test_rows_become_messages_are_enriched_and_become_rows(running: Running) -> None:
    running.execute("insert into web_orders values (1, 'a', '[\"x\", \"y\"]'), (2, 'b', '[]')")
    await running.agent.until(lambda: books(running.home, "select * from orders order by id") == [
        (1, "a", 1.5), (2, "b", 2.25)])
    assert books(running.home, "select * from lines order by sku") == [(1, "x"), (1, "y")]
    await running.agent.kill("sql-1")
    running.execute("insert into web_orders values (3, 'c', '[]')")
    await running.agent.start(running.agent.orders["sql-1"])
    await running.agent.until(lambda: len(books(running.home, "select * from orders")) == 3)
    assert running.agent.orders["http-1"].secrets == {"clerk": b"c-key", "guest": b"g-key"}
    assert resolve(running.agent.orders["http-1"].connections[0].spec, {}) == {}


async def test_a_data_api(running: Running) -> None:
    assert (await running.ask("GET", "", "wrong")).status_code == 401
    first = await running.ask("GET", "")
    assert first.json() == {"items": [{"sku": "a", "price": 1.5}, {"sku": "b", "price": 2.25}],
                            "next": "?after=WyJzOmIiXQ%3D%3D"} or first.json()["next"]
    following = await running.ask("GET", first.json()["next"])
    assert following.json() == {"items": [{"sku": "c", "price": 3.0}], "next": None}
    item = await running.ask("GET", "/a")
    assert (item.status_code, item.json()) == (200, {"sku": "a", "price": 1.5})
    assert (await running.ask("GET", "/z")).status_code == 404
    assert (await running.ask("GET", "?limt=1")).status_code == 400
    assert (await running.ask("GET", "/' or 1=1 --")).status_code in (400, 404)
    assert (await running.ask("POST", "")).status_code == 405
    refused = await running.ask("PUT", "/a", json={"price": 9})
    assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")
    assert (await running.ask("PUT", "/a", "c-key", json={"price": -1})).status_code == 400
    done = await running.ask("PUT", "/a", "c-key", json={"price": 9.5})
    assert (done.status_code, done.json()) == (200, {"changed": 1})
    assert running.execute("select price::float from stock where sku = 'a'") == [(9.5,)]
    document = (await running.ask("GET", "/../openapi.json")).json()
    assert set(document["paths"]) == {"/stock", "/stock/{sku}"}
    assert [one["name"] for one in document["paths"]["/stock"]["get"]["parameters"] if "name" in one] == [
        "limit", "after"]
