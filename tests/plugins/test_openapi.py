"""The OpenAPI document is one, whatever the channels; the listener shows it to those who may see it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jsonschema_rs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator

from arint.errors import UsageError
from arint.plugins import ChannelBinding
from plugins.http.guide import HttpGuide
from plugins.http.listener import HttpSource
from plugins.http.openapi import document
from plugins.http.specs import HttpChannel
from tests.patience import PATIENCE
from tests.plugins.test_http_listener import Intake

ORDER = {"$ref": "#/$defs/Order", "$defs": {"Order": {
    "type": "object", "required": ["id"],
    "properties": {"id": {"type": "string"}, "parts": {"type": "array", "items": {"$ref": "#/$defs/Order"}}}}}}
KEY = {"api_key": {"secret": "key"}}
names = st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,10}[a-z0-9])?\Z")
paths = st.from_regex(r"\A(/[a-z0-9._~-]{1,8}){1,3}(/\{id\})?/?\Z")
specs = st.fixed_dictionaries(
    {"path": paths, "methods": st.lists(st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"]), min_size=1,
                                        unique=True)},
    optional={"auth": st.sampled_from([KEY, {"api_key": {"secret": "key"}, "header": "X-Other"},
                                       {"basic": {"user": "shop", "password": {"secret": "key"}}}]),
              "limits": st.just({"body": "10KiB", "timeout": "2s"})})


def channel(name: str, spec: dict[str, Any], **more: Any) -> ChannelBinding:
    return ChannelBinding(name, msgspec.convert(spec, HttpChannel), "flow/orders", **more)


def check(found: dict[str, Any]) -> None:
    errors = [error.message for error in OpenAPIV31SpecValidator(msgspec.json.decode(msgspec.json.encode(found)))
              .iter_errors()]
    assert not errors


@settings(max_examples=15)
@given(st.dictionaries(names, st.tuples(specs, st.sampled_from([None, ORDER, {"type": "object"}]), st.text())))
def test_it_is_valid_whatever_the_channels(channels: dict[str, tuple[dict[str, Any], Any, str]]) -> None:
    check(document([channel(name, spec, payload=payload, description=text)
                    for name, (spec, payload, text) in channels.items()], version="7"))


def test_it_tells_what_a_caller_must_know() -> None:
    found = document([channel("orders-in", {"path": "/orders", "auth": KEY, "limits": {"body": "10KiB"}}, payload=ORDER,
                              description="Orders of the shop.")], server="http://127.0.0.1:8080", version="7")
    check(found)
    post = found["paths"]["/orders"]["post"]
    assert found["servers"] == [{"url": "http://127.0.0.1:8080"}] and found["info"]["version"] == "7"
    assert post["operationId"] == "orders-in" and post["description"] == "Orders of the shop."
    assert {one["$ref"].rpartition("/")[2] for one in post["parameters"]} == {
        "IdempotencyKey", "CorrelationId", "Traceparent"}
    assert set(post["responses"]) == {"202", "400", "401", "408", "413", "415", "422", "431", "500", "503"}
    assert post["security"] == [{"orders-in": []}]
    assert found["components"]["securitySchemes"]["orders-in"]["name"] == "X-API-Key"
    assert post["x-arint-limits"]["body_bytes"] == 10240
    assert list(found["paths"]["/orders/messages/{message_id}"]) == ["get"]


def test_the_schema_of_the_body_still_means_what_it_meant() -> None:
    found = document([channel("orders-in", {"path": "/orders"}, payload=ORDER)])
    body = found["paths"]["/orders"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    validator = jsonschema_rs.validator_for({**body, "components": found["components"]})
    assert validator.is_valid({"id": "a", "parts": [{"id": "b"}]})
    assert not validator.is_valid({"id": "a", "parts": [{"id": 1}]})


def test_immediate_delivery_answers_the_outcome() -> None:
    found = document([channel("ask", {"path": "/ask"}, delivery="immediate", result={"type": "integer"})])
    check(found)
    assert {"$ref": "#/components/parameters/RequestTimeout"} in found["paths"]["/ask"]["post"]["parameters"]
    assert {"200", "404", "409", "429", "502", "504"} <= set(found["paths"]["/ask"]["post"]["responses"])
    assert list(found["paths"]) == ["/ask"]


def test_a_path_with_parameters_and_types_of_bodies() -> None:
    spec = {"path": "/orders/{id}/lines", "methods": ["GET", "PUT"], "content_types": ["application/json", "text/csv"],
            "limits": {"rate": "5/s"}}
    found = document([channel("lines", spec, payload=ORDER, delivery="immediate")])
    check(found)
    get, put = (found["paths"]["/orders/{id}/lines"][word] for word in ("get", "put"))
    assert get["parameters"][0] == {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    assert "requestBody" not in get and put["requestBody"]["content"] == {
        "application/json": {"schema": {"$ref": "#/components/schemas/lines.payload"}}, "text/csv": {}}
    assert put["x-arint-limits"]["rate"] == "5/s" and {"get", "put"} == {one["operationId"][6:] for one in (get, put)}
    guide, lines = HttpGuide(), channel("lines", spec)
    sample = guide.sample(lines, server="http://h:1", parameters={"id": "a/b"}, secret=lambda _: b"")
    assert (sample.method, sample.url) == ("GET", "http://h:1/orders/a%2Fb/lines")
    with pytest.raises(UsageError, match="parameter id"):
        guide.sample(lines, server="http://h:1", secret=lambda _: b"")


def test_a_sample_shows_who_asks_and_what_may_be_printed() -> None:
    guide = HttpGuide()
    shop = channel("in", {"path": "/ä/c", "auth": {"basic": {"user": "shop", "password": {"secret": "key"}}}})
    sample = guide.sample(shop, server="http://h:1", query="x=1", secret=lambda _: b"s3cret\n")
    assert (sample.method, sample.url) == ("POST", "http://h:1/%C3%A4/c?x=1")
    assert sample.headers == {"Authorization": "Basic " + base64.b64encode(b"shop:s3cret").decode()}
    assert "s3cret" not in str(sample.masked) and "c2hvcDpzM2NyZXQ" not in str(sample.masked)
    with pytest.raises(UsageError, match="does not take GET"):
        guide.sample(shop, server="http://h:1", method="get", secret=lambda _: b"")


@pytest.fixture
async def listening() -> AsyncIterator[tuple[HttpSource, httpx.AsyncClient]]:
    source = HttpSource()
    await source.start(Intake(), host="127.0.0.1", port=0)
    await source.update([
        channel("open", {"path": "/open"}), channel("shop", {"path": "/shop", "auth": KEY}),
        channel("hidden", {"path": "/hidden", "openapi": False}),
        channel("own", {"path": "/own", "openapi": "/own/api.json"})])
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{source.port}") as client:
        yield source, client
    async with asyncio.timeout(PATIENCE):
        await source.stop(1.0)


async def test_who_asks_is_told_what_is_open_and_what_is_theirs(
        listening: tuple[HttpSource, httpx.AsyncClient]) -> None:
    _, client = listening

    async def told(path: str, **headers: str) -> set[str]:
        answer = await client.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        check(answer.json())
        return {path for path in answer.json()["paths"] if "messages" not in path}

    assert await told("/openapi.json") == {"/open", "/own"}
    assert await told("/openapi.json", **{"X-API-Key": "s3cret"}) == {"/open", "/own", "/shop"}
    assert await told("/openapi.json", **{"X-API-Key": "wrong"}) == {"/open", "/own"}
    assert await told("/openapi/shop.json", **{"X-API-Key": "s3cret"}) == {"/shop"}
    assert await told("/own/api.json") == {"/own"}
    assert (await client.get("/openapi/shop.json")).status_code == 401
    for path in ("/openapi/hidden.json", "/openapi/own.json", "/openapi/nobody.json"):
        assert (await client.get(path)).status_code == 404
    assert (await client.head("/openapi.json")).status_code == 200


async def test_a_channel_goes_before_a_document(listening: tuple[HttpSource, httpx.AsyncClient]) -> None:
    source, client = listening
    await source.update([channel("mine", {"path": "/openapi.json"})])
    assert (await client.get("/openapi.json")).status_code == 405
    assert (await client.post("/openapi.json", content=b"{}")).status_code == 202
    await source.update([channel("hidden", {"path": "/hidden", "openapi": False})])
    assert (await client.get("/openapi.json")).status_code == 404
