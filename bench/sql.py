"""Rows into SQLite and PostgreSQL, one message each, every commit synced; 512 at once, as a runner has them."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from arint.message import Message
from arint.plugins import Delivery, SinkContext
from bench.report import Figure, best
from plugins.sql.database import Job
from plugins.sql.sink import SqlSink, opened
from plugins.sql.specs import SqlConnection, SqlOptions
from tests.databases import PASSWORD, PostgresServer, started

ROWS = 20_000
AT_ONCE = 512
SECRETS = {"pw": PASSWORD.encode()}
OPTIONS = SqlOptions(statement="insert into orders values (:id, :customer, :total)")
SETUP = ["drop table if exists orders",
         "create table orders (id varchar(40) primary key, customer varchar(100), total numeric(10,2))"]


class SyncedPostgres(PostgresServer):
    """As in production: a commit is on disk before it is told."""

    fsync = "on"


def measure(runs: int) -> list[Figure]:
    """Rows a second into each; and read page by page, as a polled table is."""
    with tempfile.TemporaryDirectory() as folder:
        lite = SqlConnection(url=f"sqlite:///{Path(folder) / 'bench.db'}", setup=SETUP)
        into_lite = [asyncio.run(_written(lite)) for _ in range(runs)]
    server = started(SyncedPostgres)
    try:
        spec = msgspec.convert({"url": server.url("public"), "password": {"secret": "pw"}, "setup": SETUP},
                               SqlConnection)
        into_postgres = [asyncio.run(_written(spec)) for _ in range(runs)]
        read = [_read(msgspec.structs.replace(spec, setup=[])) for _ in range(runs)]
    finally:
        server.close()
    return [best("rows into SQLite, each a message", into_lite, "/s", 5000),
            best("rows into PostgreSQL, each a message", into_postgres, "/s", 5000),
            best("rows read from PostgreSQL in pages of 500, as JSON", read, "/s")]


async def _written(spec: SqlConnection) -> float:
    sink = SqlSink(SinkContext("bench", spec, SECRETS, ""))
    numbers = iter(range(ROWS))
    run = f"{time.time_ns()}"
    await sink.probe()

    async def send() -> None:
        for number in numbers:
            body: dict[str, Any] = {"id": f"o-{number}", "customer": "Ada Lovelace", "total": 12.5}
            await sink.send(Delivery(Message(id=f"m-{number}"), body, OPTIONS, f"{run}-{number}"))

    began = time.perf_counter()
    await asyncio.gather(*[send() for _ in range(AT_ONCE)])
    took = time.perf_counter() - began
    await sink.close()
    return ROWS / took


def _read(spec: SqlConnection) -> float:
    database, _ = opened("bench", spec, SECRETS)
    last, found = "", 0
    began = time.perf_counter()
    while rows := database.rows(Job(30.0), "select * from orders where id > :after order by id limit 500",
                                {"after": last}, ("id",), 500, 2**24):
        last, found = rows[-1].values[0], found + len(rows)
    took = time.perf_counter() - began
    database.close()
    return found / took
