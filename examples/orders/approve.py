"""Whether a large order may be taken."""

from __future__ import annotations

from typing import Any

from arint import Context, RejectedError, service


@service
async def approve(order: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Approve, up to the limit. What is above it ends in the dead-letter queue, for a person to decide."""
    limit = ctx.config["limit"]
    if order["total"] > limit:
        raise RejectedError(f"{order['total']:.2f} is over the limit of {limit}", where=f"order {order['id']}",
                            remedy="approve it by hand: arintctl dlq edit, then replay")
    ctx.log.info("order %s over %.2f is approved", order["id"], order["total"])
    return {**order, "approved_by": f"rule: up to {limit}"}
