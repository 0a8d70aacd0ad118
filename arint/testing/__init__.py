"""Run a service or a flow in plain pytest, with no server: what it calls and sends is recorded, or faked.

    result = run_service(price, {"id": "A1", "lines": []}, config={"currency": "EUR"})
    assert result.value["total"] == 0

    test = FlowTest("orders.yaml", services={"approve": {"approved": True}})
    run = test.run({"id": "A1", "lines": []})
    assert run.sent_to("connection/warehouse")
"""

from arint.testing.answers import in_order
from arint.testing.calls import Asked, ask
from arint.testing.clock import Clock
from arint.testing.code import ServiceCode
from arint.testing.fakes import Fake
from arint.testing.flows import FlowTest, message_of, run_service
from arint.testing.recording import Recording, check_recording
from arint.testing.results import FlowRun, Sent, ServiceResult, StepRecord, Wait
from arint.testing.snapshots import assert_snapshot

__all__ = [
    "Asked",
    "Clock",
    "Fake",
    "FlowRun",
    "FlowTest",
    "Recording",
    "Sent",
    "ServiceCode",
    "ServiceResult",
    "StepRecord",
    "Wait",
    "ask",
    "assert_snapshot",
    "check_recording",
    "in_order",
    "message_of",
    "run_service",
]
