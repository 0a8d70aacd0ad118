"""The how-to pages, followed word by word on one running cluster."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from arint.home import Home
from arint.security.ca import ensure_pki
from tests.databases import PASSWORD, Missing, TlsPostgresServer, started
from tests.hostile.system import System, eventually

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^ *```(\w*) ?([\w./-]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("how-to")) as system:
        yield system


def follow(system: System, page: str) -> None:
    """Write the files that the page has its reader write."""
    text = (ROOT / "docs/how-to" / page).read_text()
    system.write({name: content for _, name, content in FENCE.findall(text) if name})


def raw(system: System, *words: str) -> bytes:
    done = subprocess.run([sys.executable, "-m", "arintctl", *words], env=system.environment, capture_output=True,
                          cwd=system.folder, check=True)
    return done.stdout


def test_large_messages(system: System) -> None:
    follow(system, "large-messages.md")
    system.ctl("apply", "scans")
    body = b"page\f" * 700_000 + b"\xff"
    message = system.post("/scans", body, X_Name="a", Content_Type="application/octet-stream")
    system.wait_state("/scans", message, "done")
    shown = system.json("message", "show", message)
    assert (shown["size"], shown["shown"]) == (len(body), 16 * 2**10)
    assert "--body gives all of it" in system.ctl("message", "show", message)
    assert raw(system, "message", "show", message, "--body") == body
    replayed = system.json("message", "replay", message)
    assert replayed[0]["state"] == "done"


def test_a_large_dead_letter_is_shown_edited_and_replayed(system: System) -> None:
    follow(system, "large-messages.md")
    code = system.folder / "scans/pages.py"
    fails = "    if scan.startswith(b'bad'):\n        raise ValueError\n    return"
    code.write_text(code.read_text().replace("    return", fails))
    flow = system.folder / "scans/scans.yaml"
    flow.write_text(flow.read_text().replace("steps:", "retry: {attempts: 1}\nsteps:"))
    system.ctl("apply", "scans")
    message = system.post("/scans", b"bad" + bytes(2**20), X_Name="b")
    system.wait_state("/scans", message, "dead")
    letter = system.json("dlq", "show", message)
    assert letter["letter"]["size"] == 3 + 2**20
    assert raw(system, "dlq", "show", message, "--body") == b"bad" + bytes(2**20)
    system.write({"better.scan": b"better" + bytes(2**20)})
    system.ctl("dlq", "edit", message, "--body", "better.scan")
    assert raw(system, "dlq", "show", message, "--body") == b"better" + bytes(2**20)
    assert system.json("dlq", "replay", message)[0]["state"] == "done"
    eventually(lambda: not system.json("dlq", "list"))


def test_secrets_reach_a_running_service_and_nothing_else(system: System) -> None:
    follow(system, "secrets.md")
    assert "arintctl secret set signing-key" in system.refused("apply", "secrets")  # it is declared nowhere yet

    def give(value: str) -> None:
        subprocess.run([sys.executable, "-m", "arintctl", "secret", "set", "signing-key"], input=value + "\n",
                       text=True, env=system.environment, cwd=system.folder, check=True, capture_output=True)

    def signed() -> str:
        message = system.post("/sign", b'{"id": 7, "card": {"number": "4111"}, "password": "hunter2"}')
        system.wait_state("/sign", message, "done")
        shown = system.json("message", "show", message, "--stage", "1-call-sign")
        assert "4111" not in shown["body"]
        assert "hunter2" not in shown["body"]
        whole = json.loads(raw(system, "message", "show", message, "--body"))
        assert whole["card"] == {"number": "4111"}
        return str(whole["id"]) + system.json("message", "show", message)["state"]

    give("first-signing-value")
    system.ctl("apply", "secrets")
    assert signed() == "7done"
    pid = system.instance("sign-1")["pid"]
    give("second-signing-value")
    system.ctl("secret", "rotate")
    assert signed() == "7done"
    assert system.instance("sign-1")["pid"] == pid
    assert "7: ***" in system.ctl("logs", "runner-1", "-n", "50")
    told = [system.ctl(*words) for words in (["secret", "list", "-o", "json"], ["export"], ["get", "-o", "json"],
                                             ["describe", "secret/signing-key", "-o", "json"])]
    logs = "".join(file.read_text(errors="replace") for file in (system.home / "log").iterdir())
    assert "signing-value" not in "".join(told) + logs
    for file in (system.home / "etcd").rglob("*"):
        if file.is_file():
            assert b"signing-value" not in file.read_bytes()


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[TlsPostgresServer]:
    """The database of the page, which lets nobody in without TLS; its CA is at `tmp_path`."""
    ours = Home(tmp_path)
    ensure_pki(ours)
    try:
        server = started(partial(TlsPostgresServer, pki=ours))
    except Missing as missing:
        pytest.skip(str(missing))
    server.execute("create table web_orders (id integer primary key, sku text, lines jsonb)",
                   "create table stock (sku text primary key, price numeric(8,2))",
                   "create table orders (id integer, sku text, price numeric(8,2))",
                   "create table lines (order_id integer, position integer, text text)",
                   "insert into stock values ('a', 1.50), ('b', 2.25)")
    yield server
    server.close()


def test_rows_of_a_table_go_through_a_flow_once_whatever_is_killed(system: System, warehouse: TlsPostgresServer,
                                                                   tmp_path: Path) -> None:
    follow(system, "databases.md")
    file = system.folder / "databases/connections.yaml"
    file.write_text(file.read_text().replace("postgresql://arint@db.example.com/warehouse", warehouse.url("public"))
                    .replace("/etc/ssl/warehouse-ca.pem", Home(tmp_path).identity("nats-server").ca))
    system.environment["WAREHOUSE_PASSWORD"] = PASSWORD
    system.ctl("apply", "databases")

    def rows(table: str) -> list[tuple[object, ...]]:
        return [tuple(row) for row in warehouse.execute(f"select * from {table} order by 1, 2")]

    insert = "insert into web_orders select n, case n % 2 when 0 then 'a' else 'b' end, '[\"x\", \"y\"]' " \
             "from generate_series({}, {}) n"
    warehouse.execute(insert.format(1, 40))
    eventually(lambda: rows("orders"))
    for victim in ("sql-1", "runner-1", "nats"):
        status = system.json("status")
        named = {one["instance"]: one["pid"] for one in status["instances"]}
        os.kill({**named, **{one["name"]: one["pid"] for one in status["engines"]}}[victim], signal.SIGKILL)
        last = len(rows("web_orders"))
        warehouse.execute(insert.format(last + 1, last + 20))
    eventually(lambda: len(rows("orders")) >= 100 and len(rows("lines")) >= 200)
    found = warehouse.execute("select id, sku, price::text from orders order by id")
    assert [tuple(row) for row in found] == [(n, "ba"[n % 2 == 0], ("2.25", "1.50")[n % 2 == 0]) for n in range(1, 101)]
    assert rows("lines") == [(n, position, "xy"[position]) for n in range(1, 101) for position in (0, 1)]
    last = system.json("message", "list", "-n", "1")[0]["id"]
    assert "web-orders" in system.ctl("why", last)
    assert PASSWORD not in "".join(file.read_text(errors="replace") for file in (system.home / "log").iterdir())
    system.ctl("delete", "channel/web-orders", "flow/orders", "connection/warehouse", "secret/warehouse-password")


def test_published_queries_keep_the_database_from_their_callers(system: System) -> None:
    follow(system, "publish-queries.md")
    system.environment |= {"CLERK_KEY": "the-clerks", "SHOP_KEY": "the-shops"}
    system.ctl("apply", "stock")

    def ask(method: str, path: str, key: str = "the-shops", **more: object) -> httpx.Response:
        return httpx.request(method, system.url(path), headers={"X-API-Key": key}, timeout=30.0, **more)  # type: ignore[arg-type]

    eventually(lambda: ask("GET", "/stock").status_code == 200)
    database = sqlite3.connect(system.home / "data/warehouse.db")
    with database:
        database.executemany("insert into stock values (?, ?, ?)", [(f"A{n}", f"thing {n}", n) for n in range(1, 6)])
    database.close()
    first = ask("GET", "/stock?at_least=2&limit=3").json()
    assert [one["sku"] for one in first["items"]] == ["A2", "A3", "A4"]
    assert [one["sku"] for one in ask("GET", "/stock" + first["next"]).json()["items"]] == ["A5"]
    assert ask("GET", "/stock/A1").json() == {"sku": "A1", "name": "thing 1", "quantity": 1}
    statuses = {
        "no key": httpx.get(system.url("/stock"), timeout=30.0).status_code,
        "nothing there": ask("GET", "/stock/A1' or '1'='1").status_code,
        "not declared": ask("GET", "/stock?where=1").status_code,
        "no role": ask("POST", "/stock/A1/take", json={"quantity": 1}).status_code,
        "does not fit": ask("POST", "/stock/A1/take", "the-clerks", json={"quantity": "1; drop table"}).status_code,
        "not allowed": ask("POST", "/stock/A1/take", "the-clerks", json={"quantity": 2}).status_code,
    }
    assert statuses == {"no key": 401, "nothing there": 404, "not declared": 400, "no role": 403, "does not fit": 400,
                        "not allowed": 422}
    assert ask("POST", "/stock/A5/take", "the-clerks", json={"quantity": 2}).json() == {"changed": 1}
    assert ask("GET", "/stock/A5").json()["quantity"] == 3
    assert set(ask("GET", "/openapi/stock-api.json").json()["paths"]) == {"/stock", "/stock/{sku}", "/stock/{sku}/take"}
    assert "/stock/{sku}/take" in system.ctl("channel", "show", "stock-api")
