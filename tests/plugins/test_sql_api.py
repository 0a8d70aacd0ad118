"""The data API: declared queries over real databases, and whatever a caller may try."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint.answers import VARIABLE, answer_of
from arint.errors import (
    ConflictError,
    MalformedError,
    MessageError,
    NotFoundError,
    RejectedError,
    TimedOutError,
)
from arint.flows.state import State
from arint.message import Message
from arint.plugins import Delivery, SinkContext
from arint.resources.kinds import Channel, Connection
from arint.resources.manifests import Text, load, load_text
from arint.resources.variables import resolve
from plugins.sql.api.describe import SqlApi
from plugins.sql.api.paging import page_of
from plugins.sql.api.specs import ApiQuery
from plugins.sql.sink import SqlSink
from plugins.sql.specs import SqlConnection
from tests.plugins.databases import KINDS, TestDatabase, database

QUERIES: dict[str, dict[str, Any]] = {
    "item": {"path": "/{sku}", "statement": "select sku, name, quantity from stock where sku = :sku",
             "params": {"sku": {"type": "string", "maxLength": 20}}, "rows": "one"},
    "list": {"statement": "select sku, name, quantity from stock where quantity >= :at_least",
             "params": {"at_least": {"type": "integer", "default": 0, "minimum": 0}},
             "page": {"by": "sku", "size": 3, "max": 4}, "sort": ["name", "quantity"]},
    "some": {"statement": "select sku from stock where sku in :skus order by sku", "limit": 2,
             "params": {"skus": {"type": "array", "maxItems": 5}}},
    "found": {"statement": "select sku from stock where (:name is null or name = :name) order by sku",
              "params": {"name": {"type": "string", "optional": True}}},
    "mine": {"statement": "select :caller as who", "rows": "scalar"},
    "take": {"method": "POST", "path": "/{sku}/take",
             "statement": "update stock set quantity = quantity - :quantity where sku = :sku",
             "params": {"sku": {"type": "string"}, "quantity": {"type": "integer", "minimum": 1}}},
    "add": {"method": "POST", "statement": "insert into stock values (:sku, :name, :quantity, :price)", "params": {
        "sku": {"type": "string"}, "name": {"type": "string", "optional": True}, "quantity": {"type": "integer"},
        "price": {"type": "number", "optional": True}}},
    "broken": {"statement": "select nothing from stock"},
}
TABLE = ("create table stock (sku varchar(20) primary key, name varchar(40), quantity integer not null "
         "check (quantity >= 0), price numeric(10,2))")


class Api:
    """Asks as the listener would, through the step and the sink."""

    def __init__(self, sink: SqlSink, queries: Mapping[str, Any] = QUERIES) -> None:
        declared = {name: msgspec.convert(query, ApiQuery) for name, query in queries.items()}
        self.step = SqlApi().step(declared, "warehouse")
        self._sink = sink

    async def send(self, target: str, message: Message, options: Any, key: str, timeout: float) -> bytes | None:
        assert target == "connection/warehouse"
        return await self._sink.send(Delivery(message, None, options, key, timeout))

    async def ask(self, operation: str, query: str = "", body: Any = None, caller: str = "shop",
                  headers: Mapping[str, str] | None = None, **path: str) -> Any:
        status, told, _ = await self.answer(operation, query, body, caller, headers, **path)
        return json.loads(told) if status == 200 else status

    async def answer(self, operation: str, query: str = "", body: Any = None, caller: str = "shop",
                     headers: Mapping[str, str] | None = None, **path: str) -> tuple[int, bytes, Mapping[str, str]]:
        pairs: dict[str, Any] = {}
        for name, value in parse_qsl(query.removeprefix("?"), keep_blank_values=True):
            pairs[name] = [*([pairs[name]] if isinstance(pairs[name], str) else pairs[name]), value] \
                if name in pairs else value
        message = Message(id="m", channel="stock-api", caller=caller, headers=dict(headers or {}),
                          body=b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode(),
                          variables={VARIABLE: {"operation": operation, "path": path, "query": pairs}})
        state = State(message, "api=stock-api", "start", self)  # type: ignore[arg-type]
        await self.step.perform(state, "key")
        found = answer_of(message, state.message())
        return found.status, found.body, found.headers


@pytest.fixture(params=KINDS)
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TestDatabase]:
    found = database(request.param, tmp_path, request)
    found.execute(TABLE, *[f"insert into stock values ('s{n}', '{name}', {n}, {n}.25)"
                           for n, name in enumerate(["pin", "nut", "bolt", "nut", "gear", "cog", "rod"])])
    yield found
    for sink in found.sinks:
        await sink.close()


@pytest.fixture
def api(db: TestDatabase) -> Api:
    return Api(db.sink())


async def test_one_row(api: Api) -> None:
    assert await api.ask("item", sku="s2") == {"sku": "s2", "name": "bolt", "quantity": 2}
    with pytest.raises(NotFoundError):
        await api.ask("item", sku="s9")
    assert await api.ask("mine") == "shop"


async def pages(api: Api, query: str) -> list[list[str]]:
    found, following = [], query
    while following is not None:
        answer = await api.ask("list", following)
        found.append([row["sku"] for row in answer["items"]])
        following = answer["next"]
        assert len(found) < 20
    return found


async def test_pages(api: Api, db: TestDatabase) -> None:
    assert await pages(api, "") == [["s0", "s1", "s2"], ["s3", "s4", "s5"], ["s6"]]
    assert await pages(api, "limit=2&at_least=4") == [["s4", "s5"], ["s6"]]
    assert await pages(api, "limit=100") == [["s0", "s1", "s2", "s3"], ["s4", "s5", "s6"]]
    assert await pages(api, "sort=name") == [["s2", "s5", "s4"], ["s1", "s3", "s0"], ["s6"]]
    assert await pages(api, "sort=-name&limit=2") == [["s6", "s0"], ["s1", "s3"], ["s4", "s5"], ["s2"]]
    assert await pages(api, "sort=-quantity&limit=4") == [["s6", "s5", "s4", "s3"], ["s2", "s1", "s0"]]
    db.execute("update stock set name = null where quantity in (1, 4, 6)")
    assert await pages(api, "sort=name&limit=1") == [["s2"], ["s5"], ["s3"], ["s0"], ["s1"], ["s4"], ["s6"]]
    assert await pages(api, "sort=-name&limit=2") == [["s0", "s3"], ["s5", "s2"], ["s1", "s4"], ["s6"]]


async def test_rows_that_come_and_go_move_no_page(api: Api, db: TestDatabase) -> None:
    first = await api.ask("list")
    db.execute("delete from stock where sku = 's1'", "insert into stock values ('s00', 'new', 1, 1)")
    assert [row["sku"] for row in (await api.ask("list", first["next"]))["items"]] == ["s3", "s4", "s5"]


async def test_what_is_left_out_has_a_type_all_the_same(db: TestDatabase) -> None:
    db.execute("create table events (id integer primary key, day date, done boolean, price numeric(8,2))",
               "insert into events values (1, '2026-01-02', true, 1.5), (2, '2026-03-04', false, 2.5)")
    names = {"day": ("string", "date"), "done": ("boolean", ""), "price": ("number", ""), "id": ("integer", "")}
    where = " and ".join(f"(:{name} is null or {name} = :{name})" for name in names)
    params = {name: {"type": kind, "optional": True, **({"format": form} if form else {})}
              for name, (kind, form) in names.items()}
    api = Api(db.sink(), {"events": {"statement": f"select id from events where {where} order by id",
                                     "params": params}})
    for query, ids in (("", [1, 2]), ("day=2026-01-02", [1]), ("done=false", [2]), ("price=2.5&id=2", [2]),
                       ("id=7", [])):
        assert [row["id"] for row in (await api.ask("events", query))["items"]] == ids
    with pytest.raises(MalformedError):
        await api.ask("events", "day=yesterday")


async def test_lists_and_what_is_left_out(api: Api) -> None:
    assert await api.ask("some", "skus=s1&skus=s3") == {"items": [{"sku": "s1"}, {"sku": "s3"}]}
    assert await api.ask("some", "skus=s1") == {"items": [{"sku": "s1"}]}
    assert await api.ask("found", "name=nut") == {"items": [{"sku": "s1"}, {"sku": "s3"}]}
    assert len((await api.ask("found"))["items"]) == 7
    with pytest.raises(RejectedError, match="more than 2 rows"):
        await api.ask("some", "skus=s1&skus=s2&skus=s3")


@pytest.mark.parametrize("evil", ["s1' or '1'='1", "s1'; drop table stock; --", "\\' or 1=1 --", "%' --", ":caller",
                                  "s1\u2019 or 1=1", "1 union select * from x"])
async def test_injection_finds_nothing_and_does_nothing(api: Api, db: TestDatabase, evil: str) -> None:
    with pytest.raises((NotFoundError, MalformedError)):
        await api.ask("item", sku=evil)
    assert await api.ask("some", "skus=" + evil.replace("%", "%25").replace(";", "%3B")) == {"items": []}
    for query in (f"sort={evil}", f"limit={evil}", f"after={evil}", f"at_least={evil}"):
        with pytest.raises(MalformedError):
            await api.ask("list", query.replace("%", "%25").replace(";", "%3B"))
    assert await api.ask("add", body={"sku": evil[:20], "name": evil, "quantity": 1}) == {"changed": 1}
    assert db.execute("select count(*) from stock")[0][0] == 8


@pytest.mark.parametrize(("operation", "query", "told"), [
    ("list", "at_leest=1", "no parameter 'at_leest' (did you mean \"at_least\"?)"),
    ("list", "at_least=x", "a whole number"),
    ("list", "at_least=1.5", "a whole number"), ("list", "at_least=-1", "less than the minimum"),
    ("list", "at_least=99999999999999999999", "a whole number"), ("list", "at_least=1&at_least=2", "once"),
    ("list", "limit=0", "at least 1"), ("list", "limit=-1", "at least 1"), ("list", "limit=1&limit=2", "once"),
    ("list", "sort=price", "cannot be sorted by 'price'"), ("list", "after=AAAA", "given in `next`"),
    ("list", "after=WyJpOjEiXQ==&sort=name", "another order"), ("list", "after=W251bGxd", "another order"),
    ("some", "", "skus is missing"), ("some", "skus=1&skus=2&skus=3&skus=4&skus=5&skus=6", "skus"),
    ("item", "x=1", "no parameter 'x'")])
async def test_what_is_not_declared_is_refused(api: Api, operation: str, query: str, told: str) -> None:
    with pytest.raises(MalformedError) as caught:
        await api.ask(operation, query, **({"sku": "s1"} if operation == "item" else {}))
    assert told in caught.value.what


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b'{"quantity":"1"}', b'{"quantity":0}', b'{"quantity":1.5}',
                                  b'{"quantity":1,"sku":"s1"}', b'{"quantity":true}', b'{"quantity":null}',
                                  b'{"quantity":1e99}', b'\xff'])
async def test_bodies_that_do_not_fit(api: Api, db: TestDatabase, body: bytes) -> None:
    with pytest.raises(MalformedError):
        await api.ask("take", body=body, sku="s5")
    with pytest.raises(MalformedError, match="not in the query"):
        await api.ask("take", "quantity=1", body={"quantity": 1}, sku="s5")
    assert db.execute("select quantity from stock where sku = 's5'") == [(5,)]


async def test_changes(api: Api, db: TestDatabase) -> None:
    assert await api.ask("take", body={"quantity": 2}, sku="s5") == {"changed": 1}
    assert await api.ask("take", body={"quantity": 2}, sku="nothing") == {"changed": 0}
    with pytest.raises(RejectedError, match="does not allow it") as caught:
        await api.ask("take", body={"quantity": 4}, sku="s5")
    assert "stock" not in str(caught.value)
    with pytest.raises(ConflictError, match="there already"):
        await api.ask("add", body={"sku": "s5", "quantity": 1})
    assert await api.ask("add", body={"sku": "s7", "quantity": 1, "price": 12.5}) == {"changed": 1}
    assert [float(row[0]) for row in db.execute("select price from stock where sku = 's7'")] == [12.5]


async def test_a_change_with_a_key_is_done_once(api: Api, db: TestDatabase) -> None:
    for _ in range(3):
        assert await api.ask("take", body={"quantity": 1}, headers={"idempotency-key": "k"}, sku="s5") == {"changed": 1}
    assert db.execute("select quantity from stock where sku = 's5'") == [(4,)]
    with pytest.raises(RejectedError, match="came before with something else"):
        await api.ask("take", body={"quantity": 2}, headers={"idempotency-key": "k"}, sku="s5")
    await api.ask("take", body={"quantity": 2}, headers={"idempotency-key": "k"}, sku="s5", caller="other")
    assert db.execute("select quantity from stock where sku = 's5'") == [(2,)]


async def test_what_has_not_changed_is_not_sent_again(api: Api, db: TestDatabase) -> None:
    status, body, headers = await api.answer("item", sku="s1")
    assert (status, bool(body)) == (200, True)
    again = await api.answer("item", headers={"if-none-match": headers["etag"]}, sku="s1")
    assert again[:2] == (304, b"")
    db.execute("update stock set quantity = 77 where sku = 's1'")
    assert (await api.answer("item", headers={"if-none-match": headers["etag"]}, sku="s1"))[0] == 200


async def test_a_read_that_writes_is_refused_by_the_database(api: Api, db: TestDatabase) -> None:
    if db.kind != "postgresql":
        pytest.skip("a function with effects, as PostgreSQL has them")
    db.execute("create function drain() returns integer language sql as 'delete from stock; select 1'")
    sneaky = Api(db.sink(), {"drain": {"statement": "select drain() as n"}})
    with pytest.raises(RejectedError):
        await sneaky.ask("drain")
    assert db.execute("select count(*) from stock") == [(7,)]


async def test_a_slow_query_is_ended(db: TestDatabase) -> None:
    slow = {"sqlite": "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n",
            "postgresql": "select pg_sleep(30)", "mariadb": "select sleep(30) from stock"}[db.kind]
    with pytest.raises(TimedOutError):
        await Api(db.sink(), {"slow": {"statement": slow, "timeout": "300ms"}}).ask("slow")


async def test_large_rows_make_short_pages(db: TestDatabase) -> None:
    big = {"postgresql": "text", "mariadb": "longtext"}.get(db.kind, "text")
    db.execute(f"create table big (id integer primary key, data {big})",
               *[f"insert into big values ({n}, '{'x' * 3_000_000}')" for n in range(5)])
    api = Api(db.sink(), {"big": {"statement": "select * from big", "page": {"by": "id", "size": 100}},
                          "all": {"statement": "select * from big"}})
    first = await api.ask("big")
    assert [row["id"] for row in first["items"]] == [0, 1, 2]
    assert [row["id"] for row in (await api.ask("big", first["next"]))["items"]] == [3, 4]
    with pytest.raises(RejectedError, match="bytes"):
        await api.ask("all")


async def test_what_went_wrong_inside_is_not_told(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(MessageError) as caught:
        await api.ask("broken")
    assert str(caught.value) == "the query failed"
    assert "nothing" in caplog.text
    with pytest.raises(NotFoundError):
        await api.ask("gone")


@pytest.mark.parametrize(("query", "told"), [
    ({"statement": "select :x"}, ":x is no parameter"), ({"statement": "delete from stock"}, "a GET only reads"),
    ({"statement": "select 1", "params": {"x": {"type": "string"}}}, "no statement has :x"),
    ({"statement": "select 1", "path": "/{sku}"}, "{sku} is no parameter"),
    ({"statement": "select 1", "path": "x"}, "path"), ({"statement": "select 1", "sort": ["a"]}, "it needs pages"),
    ({"statement": "select 1", "rows": "changed"}, "rows"),
    ({"statement": "select :limit", "params": {"limit": {"type": "integer"}}}, "a meaning of its own"),
    ({"statement": "select 1;", "page": {"by": "a"}}, "semicolon"),
    ({"statement": "select 1", "page": {"by": "a b"}}, "by:"),
    ({"statement": "select 1", "page": {"by": "a"}, "rows": "one"}, "page: it belongs")])
def test_queries_that_are_not_valid(query: dict[str, Any], told: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=told.replace("{", r"\{").replace("}", r"\}")):
        msgspec.convert(query, ApiQuery)


@given(st.dictionaries(st.sampled_from(["limit", "after", "sort", "at_least"]), st.text(max_size=40)))
def test_whatever_is_asked_is_a_page_or_refused(given_: dict[str, str]) -> None:
    query = msgspec.convert(QUERIES["list"], ApiQuery)
    try:
        page, rest = page_of(query, given_)
    except MalformedError:
        return
    assert page is not None
    assert 1 <= page.size <= 4
    assert page.sort in ("", "name", "quantity")
    assert set(rest) <= {"at_least"}


def test_operations_are_described() -> None:
    declared = {name: msgspec.convert(query, ApiQuery) for name, query in QUERIES.items()}
    found = {one.name: one for one in SqlApi().operations(declared)}
    assert [one.name for one in found["list"].parameters] == ["at_least", "limit", "after", "sort"]
    assert found["take"].payload == {"type": "object", "additionalProperties": False, "required": ["quantity"],
                                     "properties": {"quantity": {"type": "integer", "minimum": 1}}}
    assert (found["item"].method, found["item"].path, found["item"].parameters[0].name) == ("GET", "/{sku}", "sku")


@pytest.mark.parametrize("page", ["databases", "publish-queries"])
def test_the_manifests_of_the_how_to_pages_are_valid(page: str, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / f"docs/how-to/{page}.md").read_text()
    for name, written in re.findall(r"^```yaml \w+/([\w.]+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(written)
    assert load([tmp_path])


async def test_the_data_api_of_the_how_to_page_works(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/how-to/publish-queries.md").read_text()
    [written] = re.findall(r"^```yaml [\w/.]+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    declared = {one.key: one.resource for one in load_text(Text("stock.yaml", written, tmp_path))}
    connection, channel = declared["Connection/warehouse"], declared["Channel/stock-api"]
    assert isinstance(connection, Connection)
    assert isinstance(channel, Channel)
    spec = msgspec.convert(resolve(connection.spec, {"ARINT_DATA": str(tmp_path)}), SqlConnection)
    sink = SqlSink(SinkContext("warehouse", spec, {}, str(tmp_path)))
    try:
        api = Api(sink, channel.queries)
        assert await api.ask("list", "at_least=5&sort=-name&limit=50") == {"items": [], "next": None}
        assert await api.ask("take", body={"quantity": 2}, sku="A1") == {"changed": 0}
        with pytest.raises(NotFoundError):
            await api.ask("item", sku="A1")
    finally:
        await sink.close()
