"""The orders example: its services alone, its flow in memory, and its flow with the real sinks and the real partner."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from arint.errors import RejectedError
from arint.plugins import Delivery, Sink, SinkContext, load, transports
from arint.resources import manifests
from arint.resources.kinds import Connection, Service
from arint.runtime.loader import load_callable
from arint.testing import FlowTest, Sent, run_service

HOME = Path(__file__).parents[2] / "examples/orders"
MANIFEST = HOME / "orders.yaml"
SAMPLES = {sample.stem: json.loads(sample.read_text()) for sample in sorted((HOME / "samples").glob("*.json"))}
LARGE = {"03-large", "06-panels-large"}
INVALID = "09-invalid"
VALID = sorted(set(SAMPLES) - {INVALID})


def declared(kind: type[Any]) -> dict[str, Any]:
    return {item.resource.name: item.resource for item in manifests.load([MANIFEST]) if isinstance(item.resource, kind)}


def service(name: str) -> Callable[..., Any]:
    return load_callable(HOME, declared(Service)[name].source, digest=f"test-{name}")


def test_prices_are_exact() -> None:
    priced = run_service(service("price"), SAMPLES["02-hinges"]).value
    assert [line["price"] for line in priced["lines"]] == [92.4, 11.52]
    assert priced["total"] == 103.92
    assert priced["approved_by"] is None
    assert priced["reply_to"] == SAMPLES["02-hinges"]["reply_to"]


def test_an_unknown_article_is_rejected() -> None:
    with pytest.raises(RejectedError, match="no article moon"):
        run_service(service("price"), {"id": "A-1", "customer": "c", "lines": [{"article": "moon", "qty": 1}]})


def test_approval_has_a_limit() -> None:
    config = declared(Service)["approve"].config
    approved = run_service(service("approve"), {"id": "A-1", "total": 1200.0}, config=config).value
    assert approved == {"id": "A-1", "total": 1200.0, "approved_by": "rule: up to 50000"}
    with pytest.raises(RejectedError, match="over the limit"):
        run_service(service("approve"), {"id": "A-1", "total": 50_000.01}, config=config)


@pytest.mark.parametrize("sample", VALID)
def test_each_valid_sample_goes_its_way(sample: str) -> None:
    run = FlowTest(MANIFEST).run(SAMPLES[sample])
    assert run.failure is None
    [stored] = run.sent_to("connection/warehouse")
    [partnered] = run.sent_to("connection/partner")
    assert stored.value["id"] == partnered.value["id"] == SAMPLES[sample]["id"]
    assert (stored.value["approved_by"] is not None) == (sample in LARGE)
    assert (stored.value["total"] > 1000) == (sample in LARGE)
    callbacks = [sent for sent in run.sent if sent.target.endswith("/callbacks")]
    assert len(callbacks) == ("reply_to" in SAMPLES[sample])
    assert run.logs == [("info", f"order {SAMPLES[sample]['id']} is done")]


def test_the_invalid_sample_becomes_a_dead_letter() -> None:
    run = FlowTest(MANIFEST).run(SAMPLES[INVALID])
    assert run.failure is not None
    assert run.failure.kind == RejectedError.title
    assert not run.sent


@pytest.fixture
def partner() -> Iterator[httpx.Client]:
    process = subprocess.Popen([sys.executable, str(HOME / "partner.py"), "--port", "0"], stdout=subprocess.PIPE,
                               text=True)
    assert process.stdout is not None
    port = process.stdout.readline().split()[-1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        yield client
    process.terminate()
    process.wait(5)
    process.stdout.close()


@asynccontextmanager
async def sinks(data: Path, partner: str) -> AsyncIterator[dict[str, Callable[[Sent], Awaitable[bytes | None]]]]:
    """The manifest's connections, open, as what stands for them in a FlowTest."""
    opened: list[Sink] = []

    def delivering(connection: Connection) -> Callable[[Sent], Awaitable[bytes | None]]:
        transport = transports()[connection.transport]
        assert transport.connection is not None
        assert transport.options is not None
        options = transport.options
        written = json.dumps(connection.spec).replace("${ARINT_DATA}", str(data))
        spec = msgspec.json.decode(written.replace("http://127.0.0.1:9650", partner), type=transport.connection)
        sink: Sink = load(transport.sink)(SinkContext(connection.name, spec, {}, str(data)))
        opened.append(sink)

        async def deliver(sent: Sent) -> bytes | None:
            return await sink.send(Delivery(sent.message, sent.value, msgspec.convert(sent.options, options),
                                            sent.idempotency_key))

        return deliver

    yield {name: delivering(connection) for name, connection in declared(Connection).items()}
    for sink in opened:
        await sink.close()


async def test_the_flow_with_its_real_systems(tmp_path: Path, partner: httpx.Client) -> None:
    async with sinks(tmp_path, str(partner.base_url).rstrip("/")) as connections:
        flow = FlowTest(MANIFEST, connections=connections)
        for sample in VALID:
            for _ in range(2):  # the same message a second time, as after a crash
                run = await flow.run_async(SAMPLES[sample], id=f"m-{sample}", root=f"m-{sample}")
                assert run.failure is None, run.failure
    expected = sorted(SAMPLES[sample]["id"] for sample in VALID)
    database = sqlite3.connect(tmp_path / "warehouse.db")
    assert [row[0] for row in database.execute("select id from orders order by id")] == expected
    assert database.execute("select count(*) from arint_delivered").fetchone() == (len(VALID),)
    database.close()
    received = partner.get("/received").json()
    assert sorted(order["id"] for order in received["orders"]) == expected
    assert received["repeated"] == len(VALID)
