"""One empty database for a test, whichever kind it is, and sinks into it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from arint.message import Message
from arint.plugins import Delivery, SinkContext
from plugins.sql.sink import SqlSink
from plugins.sql.specs import SqlConnection, SqlOptions
from tests.databases import PASSWORD, DatabaseServer

KINDS = ("sqlite", "postgresql", "mariadb")
SECRETS = {"pw": PASSWORD.encode()}


class TestDatabase:
    """`execute` runs statements beside ARINT, as another application would."""

    __test__ = False

    def __init__(self, kind: str, folder: Path, server: DatabaseServer | None) -> None:
        self.kind, self.server = kind, server
        self._file = folder / "test.db"
        self.name = server.new_database() if server else ""
        self.sinks: list[SqlSink] = []

    @property
    def spec(self) -> dict[str, Any]:
        if self.server is None:
            return {"url": f"sqlite:///{self._file}"}
        return {"url": self.server.url(self.name), "password": {"secret": "pw"}}

    def connection(self, **spec: Any) -> SqlConnection:
        return msgspec.convert({"timeout": "1s", **self.spec, **spec}, SqlConnection)

    def sink(self, **spec: Any) -> SqlSink:
        sink = SqlSink(SinkContext("warehouse", self.connection(**spec), SECRETS, "/data"))
        self.sinks.append(sink)
        return sink

    def execute(self, *statements: str) -> list[Any]:
        if self.server is not None:
            return [tuple(row) for row in self.server.execute(*statements, database=self.name)]
        connection = sqlite3.connect(self._file, isolation_level=None)
        try:
            return [row for statement in statements for row in connection.execute(statement).fetchall()]
        finally:
            connection.close()


def database(kind: str, folder: Path, request: pytest.FixtureRequest) -> TestDatabase:
    name = {"postgresql": "postgres", "mariadb": "mariadb"}.get(kind)
    return TestDatabase(kind, folder, request.getfixturevalue(name) if name else None)


def delivery(body: Any, key: str = "k", timeout: float = 10.0, **options: Any) -> Delivery:
    message = Message(id="m-1", headers={"x-from": "here"}, variables={"rate": 2}, correlation_id="c-1")
    return Delivery(message, body, msgspec.convert(options, SqlOptions), key, timeout)
