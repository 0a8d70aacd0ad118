"""One trace from caller to sink, through real processes and a real broker, as a collector sees it; and its metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from arint.artifacts import pack, unpack
from arint.home import Home
from arint.ports import free_port
from arint.resources.kinds import Variables
from arint.resources.manifests import Text, load_text
from arint.runtime.control import BusSettings, Orders
from arint.tracing.settings import TraceSettings
from tests.runtime.stand_in import StandInAgent
from tests.servers import NatsServer
from tests.tracing.collector import Collector

MANIFEST = """
kind: Connection
name: partner
http: {url: "${PARTNER}"}
---
kind: Service
name: price
source: price.py:price
---
kind: Flow
name: orders
steps:
  - validate: {schema: {type: object}}
  - call: service/price
  - send: {to: connection/partner, path: /orders}
  - callback: {url: "headers['x-reply-to']", allow: ["http://127.0.0.1:*"]}
retry: {attempts: 3, backoff: 50ms..200ms}
---
kind: Channel
name: orders-in
http: {path: /orders}
to: flow/orders
---
kind: Flow
name: asked
steps: [{call: service/price}]
---
kind: Channel
name: ask
http: {path: /ask}
to: flow/asked
delivery: immediate
"""
CODE = """
from arint import service, Context

@service
def price(order: dict, ctx: Context) -> dict:
    if order.get("do") == "raise once" and ctx.message.attempt == 1:
        raise ValueError("once")
    return {**order, "saw": ctx.message.traceparent}
"""
CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Partner:
    """Another system: it keeps the headers of what it was sent, by path."""

    def __init__(self) -> None:
        self.got: dict[str, dict[str, str]] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        await reader.readexactly(int(headers.get("content-length", 0)))
        self.got[first.split()[1]] = headers
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


class TracedPath(StandInAgent):
    url = ""
    partner: Partner
    partner_url = ""
    collector: Collector

    async def send(self, body: dict[str, Any], **headers: str) -> str:
        async with httpx.AsyncClient() as client:
            answer = await client.post(self.url, json=body,
                                       headers={"X-Reply-To": f"{self.partner_url}/told", **headers})
            assert answer.status_code == 202, answer.text
            return str(answer.json()["id"])


@pytest.fixture
async def path(tmp_path: Path, nats_tls_server: NatsServer) -> AsyncIterator[TracedPath]:
    home = Home(tmp_path / "home")
    code = tmp_path / "code"
    code.mkdir()
    (code / "price.py").write_text(CODE)
    here = Variables(name="here", values={"PARTNER": "set below"})
    declared = [one.resource for one in load_text(Text("path.yaml", MANIFEST, code), existing=[here])]
    by: dict[str, Any] = {kind: tuple(one for one in declared if type(one).__name__ == kind)
          for kind in ("Flow", "Service", "Connection", "Channel")}
    pem = nats_tls_server.pem("worker")
    assert pem is not None
    partner = Partner()
    server = await asyncio.start_server(partner.serve, "127.0.0.1", 0)
    async with Collector() as collector, TracedPath(home) as agent:
        agent.partner, agent.collector = partner, collector
        agent.partner_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        digest, packed = pack(code / "price.py")
        unpack(packed, home.artifact(digest), digest)
        port = free_port()
        agent.url = f"http://127.0.0.1:{port}/orders"
        common = {"node": "n1", "bus": BusSettings((nats_tls_server.server,), pem.ca, pem.certificate, pem.key),
                  "home": str(home.path), "change_set": 1, "variables": {"PARTNER": agent.partner_url},
                  "flows": by["Flow"], "services": by["Service"], "connections": by["Connection"],
                  "traces": TraceSettings(collector.url)}
        await asyncio.gather(
            agent.start(Orders(instance="runner-1", role="runner", **common)),
            agent.start(Orders(instance="price-1", role="service", service=by["Service"][0],
                               code=str(home.artifact(digest)), **common)),
            agent.start(Orders(instance="http-1", role="source", source="http", port=port,
                               channels=by["Channel"], **common)))
        yield agent
    server.close()


async def test_one_trace_from_caller_to_sink_unless_the_caller_wants_none(path: TracedPath) -> None:
    await path.send({"do": "raise once"}, traceparent=CALLER)
    await path.collector.until(lambda: len(path.collector.spans) >= 10)
    spans = path.collector.spans
    assert {span.trace_id.hex() for span in spans} == {CALLER[3:35]}
    by_id = {span.span_id.hex(): span for span in spans}
    assert len(by_id) == len(spans)
    names: dict[str, list[str]] = {span.name: [] for span in spans}
    for span in spans:
        parent = by_id.get(span.parent_span_id.hex())
        names[span.name].append(parent.name if parent else span.parent_span_id.hex())
    call = "orders 1-call-price"
    assert names == {
        "accept orders-in": [CALLER[36:52]],
        "orders start": ["accept orders-in"],
        call: ["orders start"] * 2,
        "call service/price": [call] * 2,
        "orders 2-send-partner": ["call service/price"],
        "send connection/partner": ["orders 2-send-partner"],
        "orders 3-callback": ["orders 2-send-partner"],
        "callback": ["orders 3-callback"],
    }
    assert [span.status.message for span in path.collector.named(call) if span.status.code] == ["once"]
    for name, address in (("send connection/partner", "/orders"), ("callback", "/told")):
        [span] = path.collector.named(name)
        assert path.partner.got[address]["traceparent"] == f"00-{CALLER[3:35]}-{span.span_id.hex()}-01"
    assert {one["service.name"] for one in path.collector.resources} == {"arint-http", "arint-runner", "price"}

    path.partner.got.clear()
    quiet = f"00-{'1' * 32}-{'2' * 16}-00"
    await path.send({}, traceparent=quiet)
    await path.until(lambda: "/told" in path.partner.got)
    assert path.partner.got["/orders"]["traceparent"] == path.partner.got["/told"]["traceparent"] == quiet
    await path.send({})
    await path.collector.until(lambda: len(path.collector.named("callback")) == 2)
    assert "1" * 32 not in {span.trace_id.hex() for span in path.collector.spans}


async def test_a_call_is_traced_and_a_collector_that_is_away_holds_up_no_message(path: TracedPath) -> None:
    asked = f"00-{'3' * 32}-{'4' * 16}-01"
    async with httpx.AsyncClient() as client:
        answer = await client.post(path.url.replace("/orders", "/ask"), json={}, headers={"traceparent": asked})
    assert answer.status_code == 200, answer.text

    def spans() -> dict[str, Any]:
        return {one.name: one for one in path.collector.spans if one.trace_id.hex() == "3" * 32}

    await path.collector.until(lambda: len(spans()) == 3)
    mine = spans()
    assert mine["ask ask"].parent_span_id.hex() == "4" * 16
    assert mine["asked start"].parent_span_id == mine["ask ask"].span_id
    assert mine["call service/price"].parent_span_id == mine["asked start"].span_id
    path.collector.answer = 503
    for number in range(20):
        await path.send({"n": number})

    def counted(worker: str, name: str) -> dict[tuple[str, ...], float]:
        found = [one for one in path.measures.get(worker, ()) if one.name == name]
        return {point.labels: sum(point.buckets) or point.value for one in found for point in one.points}

    done = ("orders", "3-callback", "done")
    await path.until(lambda: counted("runner-1", "arint_stage_attempts_total").get(done) == 20)
    await path.until(lambda: counted("http-1", "arint_channel_requests_total") == {
        ("ask", "200"): 1, ("orders-in", "202"): 20})
    await path.until(lambda: counted("http-1", "arint_store_duration_seconds") == {(): 20})
    path.collector.answer = 200
    await path.collector.until(lambda: len(path.collector.named("callback")) == 20, 40)
