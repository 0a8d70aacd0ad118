"""Run a service or a flow in plain pytest, with no server: what it calls and sends is recorded, or faked.

    result = run_service(price, {"id": "A1", "lines": []}, config={"currency": "EUR"})
    assert result.value["total"] == 0

    test = FlowTest("orders.yaml", services={"approve": {"approved": True}})
    run = test.run({"id": "A1", "lines": []})
    assert run.sent_to("connection/warehouse")
"""

from arint.testing.code import ServiceCode
from arint.testing.flows import (
    Fake,
    FlowRun,
    FlowTest,
    Sent,
    ServiceResult,
    StepRecord,
    message_of,
    run_service,
)

__all__ = ["Fake", "FlowRun", "FlowTest", "Sent", "ServiceCode", "ServiceResult", "StepRecord", "message_of",
           "run_service"]
