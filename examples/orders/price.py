"""What an order costs."""

from __future__ import annotations

import msgspec

from arint import RejectedError, service

CENTS = {"bolt-m8": 12, "bracket": 240, "hinge": 385, "motor-24v": 8990, "panel-a2": 14500, "controller": 39900}


class Line(msgspec.Struct):
    article: str
    qty: int
    price: float = 0.0


class Order(msgspec.Struct, omit_defaults=True):
    id: str
    customer: str
    lines: list[Line]
    reply_to: str = ""


class Priced(msgspec.Struct, omit_defaults=True):
    """As `Order`, but a field the database needs is there also when it is null."""

    id: str
    customer: str
    lines: list[Line]
    total: float
    approved_by: str | None
    reply_to: str = ""


@service
def price(order: Order) -> Priced:
    """Price each line; sums are made in cents, which floats would not add up exactly."""
    cents = 0
    for line in order.lines:
        if line.article not in CENTS:
            raise RejectedError(f"there is no article {line.article}", where=f"order {order.id}")
        line.price = CENTS[line.article] * line.qty / 100
        cents += CENTS[line.article] * line.qty
    return Priced(order.id, order.customer, order.lines, cents / 100, None, order.reply_to)
