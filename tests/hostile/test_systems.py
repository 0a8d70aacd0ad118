"""Systems that messages are sent to and that answer badly, and SQL that fails: tried again, or dead with the reason."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.hostile.system import System, eventually

MANIFEST = """
kind: Connection
name: store
sql:
  url: sqlite:///${ARINT_DATA}/store.db
  setup: ["create table if not exists orders (id text primary key, total real not null)"]
---
kind: Connection
name: other
http: {url: "http://127.0.0.1:PORT", timeout: 1s, probe: /health}
---
kind: Flow
name: sql
retry: {attempts: 2, backoff: 10ms..20ms}
steps:
  - when:
      if: has(body.wrong)
      then:
        - send: {to: connection/store, statement: "insert into nowhere (id) values (:id)"}
      else:
        - send: {to: connection/store, statement: "insert into orders (id, total) values (:id, :total)"}
---
kind: Channel
name: sql
http: {path: /sql}
to: flow/sql
---
kind: Flow
name: http
retry: {attempts: 3, backoff: 10ms..50ms}
steps:
  - send: {to: connection/other, path: /orders}
---
kind: Channel
name: http
http: {path: /http}
to: flow/http
"""


class Other(BaseHTTPRequestHandler):
    """Answers as `mode` says: 200, 500, 404, "nothing" (hangs up), "silent" (no answer), "half" (of its body)."""

    mode: int | str = 200
    got: list[str]
    released: threading.Event

    def do_GET(self) -> None:
        self._answer(200 if self.mode in (200, 404, 500) else self.mode)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.mode == 200:
            self.got.append(self.headers["Idempotency-Key"])
        self._answer(self.mode)

    def _answer(self, mode: int | str) -> None:
        if isinstance(mode, int):
            self.send_response(mode)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")
        elif mode == "half":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
        elif mode == "silent":
            self.released.wait(30.0)
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        """Nothing on stderr."""


@pytest.fixture(scope="module")
def other() -> Iterator[type[Other]]:
    Other.got, Other.released = [], threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Other.port = server.server_address[1]  # type: ignore[attr-defined]
    yield Other
    Other.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def systems(system: System, other: type[Other]) -> System:
    system.write({"systems.yaml": MANIFEST.replace("PORT", str(other.port))})  # type: ignore[attr-defined]
    system.ctl("apply", "systems.yaml")
    return system


@pytest.mark.parametrize(("body", "words"), [
    (b'{"wrong": true, "id": "SECRET-VALUE"}', "no such table"),
    (b'{"id": "SECRET-VALUE"}', "total"),
    (b'{"id": "SECRET-VALUE", "total": null}', "NOT NULL"),
    (b'{"id": {"a": 1}, "total": 1}', "id"),
])
def test_sql_that_fails_is_a_dead_letter_that_tells_the_statement_and_no_values(systems: System, body: bytes,
                                                                                words: str) -> None:
    bad, good = systems.post("/sql", body), systems.post("/sql", b'{"id": "%d", "total": 1}' % id(body))
    systems.wait_state("/sql", good, "done", patience=15.0)
    systems.wait_state("/sql", bad, "dead", "done", patience=15.0)
    if systems.state("/sql", bad) == "done":
        assert b"{\"a\"" in body  # a mapping may be stored as its JSON
        return
    letter = systems.dead_letter(bad)["letter"]
    assert words in letter["error"]
    assert "SECRET-VALUE" not in letter["error"]


def test_a_database_that_is_locked_holds_its_messages_until_it_is_free(systems: System) -> None:
    systems.wait_state("/sql", systems.post("/sql", b'{"id": "first", "total": 1}'), "done")
    holder = sqlite3.connect(systems.home / "data" / "store.db", isolation_level=None)
    try:
        holder.execute("begin exclusive")
        message = systems.post("/sql", b'{"id": "locked", "total": 1}')
        eventually(lambda: "deferred" in systems.ctl("why", message), 30.0)
        holder.execute("rollback")
    finally:
        holder.close()
    systems.wait_state("/sql", message, "done")


@pytest.mark.parametrize("mode", ["nothing", "silent", "half", 503])
def test_a_system_that_is_away_gets_each_message_once_it_is_back(systems: System, other: type[Other],
                                                                 mode: int | str) -> None:
    other.mode = mode
    try:
        messages = [systems.post("/http") for _ in range(3)]
        eventually(lambda: "deferred" in systems.ctl("why", messages[0]), 20.0)
    finally:
        other.mode = 200
    for message in messages:
        systems.wait_state("/http", message, "done")
    assert not {item["message"] for item in systems.json("dlq", "list", "--flow", "http")} & set(messages)
    assert len(other.got) == len(set(other.got))


@pytest.mark.parametrize(("mode", "attempts"), [(500, 3), (404, 1)])
def test_an_error_of_the_system_makes_a_dead_letter_after_its_attempts(systems: System, other: type[Other], mode: int,
                                                                       attempts: int) -> None:
    other.mode = mode
    try:
        message = systems.post("/http")
        systems.wait_state("/http", message, "dead", patience=20.0)
    finally:
        other.mode = 200
    assert str(mode) in systems.dead_letter(message)["letter"]["error"]
    [hop] = [hop for hop in systems.json("why", message)["hops"] if hop["state"] == "dead"]
    assert len(hop["attempts"]) == attempts
    systems.ctl("dlq", "replay", message)
    systems.wait_state("/http", message, "done")
