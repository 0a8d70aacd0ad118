"""Invoices."""

from __future__ import annotations

from html import escape

import msgspec

from arint import Context, RejectedError, service


class Customer(msgspec.Struct):
    name: str
    email: str


class Line(msgspec.Struct):
    article: str
    qty: int
    title: str | None
    cents: int | None
    """Title and price are null where the stock knows no such article."""


class Order(msgspec.Struct, omit_defaults=True):
    id: str
    customer: Customer
    lines: list[Line]
    ordered: str = ""
    reply_to: str = ""
    total_cents: int = 0
    invoice: str = ""


@service
def invoice(order: Order, ctx: Context) -> Order:
    """Add the total and the invoice as HTML. What is not sold here is never invoiced: a dead letter, for a person."""
    rows = []
    for line in order.lines:
        if line.cents is None or line.title is None:
            raise RejectedError(f"there is no article {line.article}", where=f"order {order.id}")
        cents = line.cents * line.qty
        order.total_cents += cents
        rows.append(f"<tr><td>{line.qty}</td><td>{escape(line.title)}</td><td>{_euros(cents)}</td></tr>")
    percent = ctx.config["vat_percent"]
    vat = round(order.total_cents * percent / (100 + percent))
    order.invoice = "\n".join((
        f"<h1>Invoice {escape(order.id)}</h1>", f"<p>{escape(ctx.config['seller'])}</p>",
        f"<p>To {escape(order.customer.name)}</p>", "<table>", *rows, "</table>",
        f"<p>Total {_euros(order.total_cents)}, of which {_euros(vat)} VAT ({percent} %)</p>", ""))
    return order


def _euros(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02} EUR"
