"""The tests' own tools: flows from manifests, fakes, what is recorded."""

from __future__ import annotations

import pytest

from arint.errors import MessageError, NotFoundError, RejectedError, UsageError
from arint.resources.kinds import Flow
from arint.testing import FlowTest

MANIFEST = """
kind: Connection
name: db
http: {url: "http://127.0.0.1:1"}
---
kind: Service
name: price
source: price.py:price
config: {rate: 3}
---
kind: Flow
name: orders
retry: {attempts: 2}
steps:
  - {name: check it, validate: {schema: order.json}}
  - call: service/price
  - call: flow/deliver
  - callback: {url: "'http://caller/x'"}
---
kind: Flow
name: deliver
steps:
  - send: {to: connection/db, path: /x}
"""


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "flows.yaml").write_text(MANIFEST)
    (tmp_path / "order.json").write_text('{"required": ["qty"]}')
    code = "def price(order, ctx):\n    return {'sum': order['qty'] * ctx.config['rate']}\n"
    (tmp_path / "price.py").write_text(code)
    return tmp_path / "flows.yaml"


def test_a_flow_from_a_manifest_runs_its_real_services(manifest):
    run = FlowTest(manifest, name="orders").run({"qty": 2})
    assert [(step.path, step.key, step.name, step.stage) for step in run.steps] == [
        ("0", "validate", "check it", "start"), ("1", "call", "", "1-call-price"),
        ("2f0", "send", "", "2f0-send-db"), ("3", "callback", "", "3-callback")]
    assert run.value == {"sum": 6}
    (sent,) = run.sent_to("connection/db")
    assert sent.value == {"sum": 6} and sent.options == {"path": "/x"}
    assert run.sent_to("http://caller/x")[0].message.body == b'{"sum":6}'


def test_fakes_stand_before_real_services(manifest):
    assert FlowTest(manifest, name="orders", services={"price": {"sum": 1}}).run({"qty": 2}).value == {"sum": 1}


def test_which_flow_must_be_said(manifest):
    with pytest.raises(UsageError, match="2 flows"):
        FlowTest(manifest)
    with pytest.raises(NotFoundError, match="no flow nope"):
        FlowTest(manifest, name="nope")


def test_failures_say_where(manifest):
    run = FlowTest(manifest, name="orders", connections={"db": MessageError("down")}).run({"qty": 2})
    assert (run.failed_in, run.failure.kind, run.failure.message) == ("2f0-send-db", "message failed", "down")
    assert run.message.body == b'{"sum":6}'
    assert [step.key for step in run.steps] == ["validate", "call"]


def test_a_service_for_which_nothing_stands():
    run = FlowTest(Flow(name="t", steps=[{"call": "service/x"}])).run({})
    assert "nothing stands for service/x" in run.failure.message


async def test_within_a_running_loop_too():
    test = FlowTest(Flow(name="t", steps=[{"call": "service/x"}]), services={"x": RejectedError("no")})
    assert test.run({}).failure.message == "no"
    assert (await test.run_async({})).failure.message == "no"
