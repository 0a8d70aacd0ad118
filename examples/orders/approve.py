"""Whether a large order may be taken."""

from __future__ import annotations

from typing import Any

from arint import RejectedError, service

LIMIT = 50_000


@service
async def approve(order: dict[str, Any]) -> dict[str, Any]:
    """Approve, up to the limit. What is above it ends in the dead-letter queue, for a person to decide."""
    if order["total"] > LIMIT:
        raise RejectedError(f"{order['total']:.2f} is over the limit of {LIMIT}", where=f"order {order['id']}",
                            remedy="approve it by hand: arintctl dlq edit, then replay")
    return {**order, "approved_by": "rule: up to 50,000"}
