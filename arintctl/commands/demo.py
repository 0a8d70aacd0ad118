"""demo: an example with its samples, followed to the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from arint.errors import ArintError
from arintctl import layout, options
from arintctl.output import Column, Table, aligned, write
from arintctl.session import Session
from arintctl.text import last_line, lasting
from arintctl.verb import commands, verb

if TYPE_CHECKING:
    from arint.operations.demo import DemoResult

app = commands()


def _arrived(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"


ORDERS = Table((
    Column("ORDER", lambda row: row.order or row.sample),
    Column("MESSAGE", lambda row: row.message),
    Column("STATE", lambda row: row.state),
    Column("DATABASE", lambda row: _arrived(row.database)),
    Column("PARTNER", lambda row: _arrived(row.partner)),
    Column("CALLBACK", lambda row: _arrived(row.callback)),
    Column("TOOK", lambda row: lasting(row.took), roomy=True),
    Column("ERROR", lambda row: last_line(row.error), long=True),
), name=lambda row: str(row.message))


@verb(app, "demo", example="arintctl demo orders --outage 5s")
def demo(session: Session,
         example: Annotated[str, typer.Argument(help="An example's name, or its folder.")] = "orders", *,
         outage: Annotated[str, typer.Option(metavar="DURATION", help="How long its second system is away.")] = "3s",
         timeout: options.Timeout = "90s") -> None:
    """Feed an example with its sample messages, and follow each to its end.

    Starts the cluster where it does not run. Whoever runs it twice sees that nothing is stored twice.
    """
    from arint.operations.demo import DemoArguments, find_example
    from arint.operations.demo import demo as operation
    from arintctl.contexts import ports_of_others, record

    arguments = DemoArguments(folder=find_example(example), outage=options.seconds_of(outage),
                              timeout=options.seconds_of(timeout), avoid=ports_of_others(session.home().path))
    result = session.run(lambda link, progress: operation(link, arguments, progress))
    record(session.home().path, session.settings.context or "")
    if session.is_data:
        session.data(result)
    elif session.form == "name":
        write("\n".join(order.message for order in result.orders))
    else:
        write(_told(result))
    if not result.as_expected:
        raise ArintError("not every order arrived where it belongs", remedy="arintctl why MESSAGE tells where it is")


def _once(result: DemoResult) -> str:
    return "each arrived once" if result.as_expected else "not each arrived once"


def _told(result: DemoResult) -> str:
    dead = [order for order in result.orders if order.state == "dead"]
    large = next((order for order in result.orders if "large" in order.sample), result.orders[0])
    lines = [aligned(result.orders, ORDERS, wide=False, width=layout.width()), ""]
    if result.outage and result.refused:
        lines.append(f"The partner was away for {lasting(result.outage)} and turned {result.refused} requests "
                     f"away; the orders waited, and {_once(result)}.")
    if dead:
        lines.append(f"Order {dead[0].order or dead[0].sample} does not match the schema: it is a dead letter.")
    lines += ["", "Try next:", f"  arintctl why {large.message}", "  arintctl dlq list", "  arintctl status",
              "  arintctl logs approve", "  arintctl console",
              f"  curl -i {result.url} \\",
              f'    -H "X-API-Key: $(cat {result.folder}/orders.key)" \\',
              f"    --json @{result.folder}/samples/01-bolts.json"]
    return "\n".join(lines)
