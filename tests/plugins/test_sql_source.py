"""Polled tables, in real databases: each row one message, whatever happens between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from arint.errors import ConflictError
from arint.plugins import Accepted, ChannelBinding, FullError, Mark
from plugins.sql.source import SqlSource
from plugins.sql.specs import SqlChannel
from tests.patience import PATIENCE
from tests.plugins.databases import KINDS, SECRETS, TestDatabase, database

QUERY = "select id, name, changed, taken from orders"
TABLE = "create table orders (id integer primary key, name varchar(40), changed integer, taken integer default 0)"
BY_FLAG = {"by": "flag", "query": QUERY + " where taken = 0", "taken": "update orders set taken = 1 where id = :id"}


class Store:
    """Stands for the broker: it forgets at will, is full at will, and keeps marks."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.ids: set[str] = set()
        self.known: set[str] = set()
        self.marks: dict[str, Mark] = {}
        self.full = 0

    async def accept(self, channel: str, body: bytes, *, message_id: str, **_: Any) -> Accepted:
        if self.full:
            self.full -= 1
            raise FullError("it is full", 0.1)
        repeated = message_id in self.ids
        if not repeated:
            self.ids.add(message_id)
            self.messages.append(json.loads(body))
        return Accepted(message_id, repeated)

    def forget(self) -> None:
        """All was processed: the stream lets go of the messages, the action log knows them."""
        self.known |= self.ids
        self.ids.clear()

    async def is_known(self, message_id: str) -> bool:
        return message_id in self.known

    async def mark(self, channel: str) -> Mark:
        return self.marks.get(channel, Mark())

    async def set_mark(self, channel: str, value: bytes, before: Mark) -> Mark:
        if before.sequence != self.marks.get(channel, Mark()).sequence:
            raise ConflictError("somebody else takes from it too")
        self.marks[channel] = Mark(value, before.sequence + 1)
        return self.marks[channel]

    def secret(self, name: str) -> bytes:
        return SECRETS[name]

    @property
    def taken(self) -> list[int]:
        return sorted(message["id"] for message in self.messages)


class Polled:
    """A database, a store, and sources that come and go."""

    def __init__(self, db: TestDatabase) -> None:
        self.db = db
        self.store = Store()
        self.sources: list[SqlSource] = []

    async def start(self, **spec: Any) -> SqlSource:
        known = {"from": "connection/shop", "query": QUERY, "key": "id", "every": "20ms"}
        channel = msgspec.convert(known | spec, SqlChannel)
        source = SqlSource()
        self.sources.append(source)
        await source.start(self.store, host="", port=0)  # type: ignore[arg-type]
        await source.update([ChannelBinding("orders-in", channel, "flow/f",
                                            connections={"shop": self.db.connection()})])
        return source

    def add(self, *ids: int, changed: int = 0) -> None:
        self.db.execute(*[f"insert into orders (id, name, changed) values ({one}, 'n{one}', {changed or one})"
                          for one in ids])

    async def until(self, condition: Callable[[], Any], deadline: float = PATIENCE) -> None:
        end = asyncio.get_running_loop().time() + deadline
        while not condition():
            assert asyncio.get_running_loop().time() < end, (self.store.taken, [one.trouble for one in self.sources])
            await asyncio.sleep(0.01)


@pytest.fixture(params=KINDS)
async def polled(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Polled]:
    found = Polled(database(request.param, tmp_path, request))
    found.db.execute(TABLE)
    yield found
    for source in found.sources:
        await source.stop(1.0)


WAYS: Mapping[str, dict[str, Any]] = {"key": {"by": "key"}, "time": {"by": "time", "time": "changed"}, "flag": BY_FLAG}


@pytest.mark.parametrize("way", WAYS)
async def test_each_row_is_one_message(polled: Polled, way: str) -> None:
    polled.add(1, 2, 3, 4, 5)
    await polled.start(**WAYS[way], batch=2)
    await polled.until(lambda: polled.store.taken == [1, 2, 3, 4, 5])
    assert polled.store.messages[0] == {"id": 1, "name": "n1", "changed": 1, "taken": 0}
    polled.add(7, 6)
    await polled.until(lambda: polled.store.taken == [1, 2, 3, 4, 5, 6, 7])
    if way == "flag":
        await polled.until(lambda: polled.db.execute("select count(*) from orders where taken = 1")[0][0] == 7)


@pytest.mark.parametrize("way", WAYS)
async def test_each_row_once_after_a_crash_at_any_time(polled: Polled, way: str) -> None:
    """The process dies after storing and before it kept how far it is; the store has let go of what it had."""
    polled.add(*range(1, 8))
    for round_ in range(6):
        source = await polled.start(**WAYS[way], batch=3)
        expected = list(range(1, 8 + round_))
        await polled.until(lambda expected=expected: polled.store.taken == expected)
        for running in source._running.values():
            running.task.cancel()
        await source.stop(0.0)
        polled.store.forget()
        if round_ % 2:  # what was kept last is lost, or the mark on the rows
            polled.db.execute("update orders set taken = 0")
            if mark := polled.store.marks.get("orders-in"):
                kept = json.loads(mark.value or b"{}") | {"last": None, "settled": None}
                polled.store.marks["orders-in"] = Mark(json.dumps(kept).encode(), mark.sequence)
        polled.add(8 + round_)
    await polled.start(**WAYS[way], batch=3)
    await polled.until(lambda: polled.store.taken == list(range(1, 14)))


async def test_rows_that_appear_behind_are_taken(polled: Polled) -> None:
    polled.add(1, 5)
    await polled.start(by="key")
    await polled.until(lambda: polled.store.taken == [1, 5])
    polled.add(3)
    await polled.until(lambda: polled.store.taken == [1, 3, 5])
    source = polled.sources[0]
    await source.stop(1.0)
    polled.add(2)  # while nothing looked
    polled.store.forget()
    await polled.start(by="key")
    await polled.until(lambda: polled.store.taken == [1, 2, 3, 5])


async def test_a_changed_row_is_a_message_of_its_own(polled: Polled) -> None:
    polled.add(1, 2)
    await polled.start(by="time", time="changed")
    await polled.until(lambda: polled.store.taken == [1, 2])
    polled.db.execute("update orders set changed = 9, name = 'new' where id = 1")
    await polled.until(lambda: polled.store.taken == [1, 1, 2])
    assert polled.store.messages[-1]["name"] == "new"


async def test_many_rows_of_one_time_are_more_than_a_batch(polled: Polled) -> None:
    polled.add(*range(1, 30), changed=7)
    await polled.start(by="time", time="changed", batch=4)
    await polled.until(lambda: polled.store.taken == list(range(1, 30)))


async def test_from_now_on(polled: Polled) -> None:
    polled.add(1, 2)
    source = await polled.start(by="key", start="now")
    await polled.until(lambda: "orders-in" in polled.store.marks)
    await source.stop(1.0)
    polled.add(3)
    await polled.start(by="key", start="now")
    await polled.until(lambda: polled.store.taken == [3])


@pytest.mark.parametrize("way", WAYS)
async def test_a_full_store_and_a_vanished_table_are_waited_for(polled: Polled, way: str) -> None:
    polled.add(1, 2)
    polled.store.full = 3
    source = await polled.start(**WAYS[way])
    await polled.until(lambda: "full" in source.trouble)
    await polled.until(lambda: polled.store.taken == [1, 2] and not source.trouble)
    polled.db.execute("alter table orders rename to gone")
    await polled.until(lambda: "orders" in source.trouble)
    polled.db.execute("alter table gone rename to orders")
    polled.add(3)
    await polled.until(lambda: polled.store.taken == [1, 2, 3] and not source.trouble)


@pytest.mark.parametrize(("spec", "told"), [
    ({"by": "key", "key": "number"}, "number"), ({**BY_FLAG, "key": "number"}, 'there is no column "number"'),
    ({**BY_FLAG, "key": "name"}, "is null"), ({"by": "key", "query": "select nonsense from orders"}, "nonsense"),
    ({**BY_FLAG, "taken": "update orders set taken = 1 where id = :nr"}, 'there is no column "nr"')])
async def test_what_cannot_be_polled_is_told(polled: Polled, spec: dict[str, Any], told: str) -> None:
    polled.db.execute("insert into orders (id) values (1)")
    source = await polled.start(**spec)
    await polled.until(lambda: told in source.trouble)


async def test_two_that_overlap_take_each_row_once(polled: Polled) -> None:
    await asyncio.gather(*[polled.start(by="key", batch=5) for _ in range(2)])
    for number in range(1, 60):
        polled.add(number)
    await polled.until(lambda: polled.store.taken == list(range(1, 60)), 40)


@pytest.mark.parametrize(("spec", "told"), [
    ({"by": "time"}, "time: it belongs to"), ({"by": "flag"}, "taken: it belongs to"),
    ({"by": "key", "time": "changed"}, "time: it belongs to"), ({"by": "key", "key": ["a", "b"]}, "goes by one column"),
    ({"by": "key", "query": "delete from orders"}, "must be a select"),
    ({"by": "key", "query": "select 1;"}, "without a semicolon"),
    ({"by": "key", "query": "select :a"}, "nothing that :a could be filled with")])
def test_a_channel_that_is_not_valid(spec: dict[str, Any], told: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=told):
        msgspec.convert({"from": "connection/shop", "query": QUERY, "key": "id", **spec}, SqlChannel)
