"""The audit: who did what, when, with which outcome."""

from __future__ import annotations

import time
from typing import Annotated, Literal

import typer

from arint.errors import ArintError
from arintctl import layout, options
from arintctl.output import Column, Table, write
from arintctl.session import Session
from arintctl.text import Moment, clock, lasting, printable
from arintctl.verb import commands, verb

app = commands()
Outcome = Literal["done", "failed", "cancelled", "denied", "unfinished"]

ENTRIES = Table((
    Column("NO", lambda row: row.number),
    Column("WHEN", lambda row: Moment(row.at)),
    Column("USER", lambda row: row.user),
    Column("VIA", lambda row: row.via, roomy=True),
    Column("OPERATION", lambda row: row.operation),
    Column("OUTCOME", lambda row: row.outcome),
    Column("TOOK", lambda row: lasting(row.took) if row.took else ""),
    Column("SET", lambda row: row.change_set or "", roomy=True),
    Column("NODE", lambda row: row.node, roomy=True),
    Column("CALL", lambda row: row.call, wide=True),
    Column("ERROR", lambda row: row.error, long=True),
), name=lambda row: str(row.call), empty="nothing was audited yet")


@verb(app, "list", example="arintctl audit list --user alice --since 1d")
def list_(session: Session, *,
          user: Annotated[str, typer.Option(help="Only of this user.")] = "",
          operation: Annotated[str, typer.Option(help="Only operations with this in their name.")] = "",
          outcome: Annotated[Outcome | None, typer.Option(help="Only what ended so.")] = None,
          since: Annotated[str, typer.Option(metavar="DURATION", help="Only of the last 10m, 1h, 2d.")] = "",
          limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=10_000, help="How many at most.")] = 50,
          ) -> None:
    """List what was done, the newest first: by whom, when, with which outcome."""
    from arint.operations.audit import AuditFilter, list_audit

    wanted = AuditFilter(user=user, operation=operation, outcome=outcome or "", limit=limit,
                         since=time.time() - options.seconds_of(since) if since else 0.0)
    session.rows(session.run(lambda link, _: list_audit(link, wanted)), ENTRIES,
                 empty="nothing fits" if user or operation or outcome or since else "")


@verb(app, "show", example="arintctl audit show 17")
def show(session: Session, call: Annotated[str, typer.Argument(metavar="NO | CALL")]) -> None:
    """Show one call in full: its arguments too, secrets masked."""
    import msgspec

    from arint.operations.audit import show_audit

    found = session.run(lambda link, _: show_audit(link, call))
    if session.is_data:
        session.data(found)
    elif session.form == "name":
        write(found.call)
    else:
        pairs = [("call", f"{found.call}, record {found.number}"), ("when", clock(found.at)),
                 ("user", f"{found.user} ({found.role or 'on a home'})"), ("operation", found.operation),
                 ("arguments", msgspec.json.encode(found.arguments).decode()), ("outcome", found.outcome),
                 ("took", lasting(found.took)), ("change set", str(found.change_set or "")), ("node", found.node),
                 ("error", found.error)]
        write(layout.facts([(name, printable(value)) for name, value in pairs if value], layout.width()))


@verb(app, "verify", example="arintctl audit verify")
def verify(session: Session) -> None:
    """Look through the whole chain: is every record there, and as it was written?

    The exit code is 1 where it is not.
    """
    from arint.operations.audit import verify_audit

    found = session.run(lambda link, _: verify_audit(link))
    if session.is_data:
        session.data(found)
    elif session.form != "name":
        write(f"{found.records} records, {found.first} to {found.last}" if found.records else "no records")
    if found.problems:
        raise ArintError("; ".join(found.problems[:5]), where="audit",
                         remedy="somebody changed the broker's files: compare with a backup, and change the keys")
