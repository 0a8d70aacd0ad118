"""The built-in plugins as the registry and the manifests meet them."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from typing import Any

import msgspec
import pytest

from arint.plugins import Plugin, load
from plugins.http.specs import HttpChannel, HttpConnection, HttpOptions
from plugins.sql.specs import SqlConnection, SqlOptions


@pytest.mark.parametrize("name", ["file", "http", "sql"])
def test_they_are_registered_as_anybody_elses(name: str) -> None:
    [point] = entry_points(group="arint.plugins", name=name)
    plugin = point.load()
    assert isinstance(plugin, Plugin)
    for transport in plugin.transports:
        assert callable(load(transport.sink))
        for spec in (transport.channel, transport.connection, transport.options):
            assert spec is None or msgspec.json.schema(spec)


def test_to_know_them_loads_neither_server_nor_driver() -> None:
    heavy = ("uvicorn", "httpx", "sqlalchemy", "sqlite3", "ssl", "cel", "ijson", "multipart", "xml")
    loaded = "plugins.file, plugins.formats, plugins.http, plugins.sql"
    script = f"import sys, {loaded}; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(("spec", "written", "told"), [
    (HttpChannel, {"path": "orders"}, "path"),
    (HttpChannel, {"path": "/orders?a=1"}, "path"),
    (HttpChannel, {"path": "/o", "methods": ["TRACE"]}, "methods"),
    (HttpChannel, {"path": "/o", "methods": []}, "methods"),
    (HttpChannel, {"path": "/o", "auth": {}}, "exactly one of api_key, keys, basic"),
    (HttpChannel, {"path": "/o", "auth": {"api_key": "plain text"}}, "api_key"),
    (HttpChannel, {"path": "/o", "limits": {"body": "65MiB"}}, "at most 64MiB"),
    (HttpChannel, {"path": "/o", "limit": {}}, "limit"),
    (HttpConnection, {"url": "ftp://host"}, "url"),
    (HttpConnection, {"url": "http://h", "headers": {"X": "a\r\nB: c"}}, "headers"),
    (HttpConnection, {"url": "http://h", "auth": {"bearer": {"secret": "a"}, "basic": None, "header": {
        "name": "X", "value": {"secret": "b"}}}}, "exactly one"),
    (HttpOptions, {"method": "TRACE"}, "method"),
    (SqlConnection, {"url": "orders.db"}, "url"),
    (SqlOptions, {}, "statement"),
    (SqlOptions, {"statement": []}, "statement"),
    (SqlOptions, {"statement": "select 1", "params": {"a b": "x"}}, "params"),
])
def test_what_is_not_valid_is_told_with_its_place(spec: type[Any], written: dict[str, Any], told: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=told):
        msgspec.convert(written, spec)


@pytest.mark.parametrize(("spec", "written"), [
    (HttpChannel, {"path": "/o", "auth": {"basic": {"user": "u", "password": {"secret": "p"}}}}),
    (HttpConnection, {"url": "${PARTNER}/api", "auth": {"bearer": {"secret": "t"}}, "timeout": "2s"}),
    (SqlConnection, {"url": "sqlite:///${ARINT_DATA}/a.db", "setup": ["create table if not exists a (b)"]}),
    (SqlConnection, {"url": "postgresql+psycopg://user@host/db", "password": {"secret": "p"}}),
    (SqlOptions, {"statement": ["select 1", "select 2"], "params": {"a": "body.b.c"}}),
])
def test_what_is_written_is_given_back(spec: type[Any], written: dict[str, Any]) -> None:
    assert msgspec.to_builtins(msgspec.convert(written, spec)) == written
