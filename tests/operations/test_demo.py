"""What the demo says of an order."""

from __future__ import annotations

from arint.operations.demo import arrived_rightly


def test_an_order_arrives_once_for_each_run() -> None:
    bodies = [{"id": "A"}, {"id": "B"}, {"id": "B"}, "no order"]
    assert arrived_rightly("A", bodies, 1)
    assert not arrived_rightly("B", bodies, 1)
    assert arrived_rightly("B", bodies, 2)
    assert not arrived_rightly("C", bodies, 1)
