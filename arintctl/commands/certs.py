"""cluster certs: which certificates there are and how long they last; new ones, new CAs, and shutting somebody out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from arint.errors import UsageError
from arintctl import layout, options
from arintctl.output import Column, Table, aligned, write
from arintctl.session import Session
from arintctl.text import Moment, lasting
from arintctl.verb import commands, verb

if TYPE_CHECKING:
    from arint.operations.certificates import Certificate, Renewed

app = commands()
Force = Annotated[bool, typer.Option("--force", help="Leave behind who is away, or has certificates of an old CA.")]
_COLOURS = {"soon": 33, "expired": 31, "refused": 31, "revoked": 90}

CERTIFICATES = Table((
    Column("OF", lambda row: row.of),
    Column("IDENTITY", lambda row: row.identity),
    Column("STATE", lambda row: row.state),
    Column("EXPIRES", lambda row: Moment(row.expires) if row.expires else ""),
    Column("BEGINS", lambda row: Moment(row.begins) if row.begins else "", roomy=True),
    Column("CA", lambda row: row.ca, roomy=True),
    Column("SERIAL", lambda row: row.serial, wide=True),
    Column("PROBLEM", lambda row: row.problem, wide=True),
), name=lambda row: f"{row.of}/{row.identity}", empty="no certificates yet")


@verb(app, "list", example="arintctl cluster certs list")
def list_(session: Session) -> None:
    """List the certificates of the CAs, nodes and users, and how long they last."""
    from arint.operations.certificates import list_certificates

    rows = session.run(lambda link, _: list_certificates(link))
    if session.form not in ("table", "wide") or not rows:
        session.rows(rows, CERTIFICATES)
        return
    write(_coloured(rows, aligned(rows, CERTIFICATES, wide=session.form == "wide", width=layout.width())))
    for row in rows:
        if row.problem:
            write(f"{row.of}, {row.identity}: {row.problem}")


@verb(app, "renew", example="arintctl cluster certs renew n2")
def renew(session: Session,
          nodes: Annotated[list[str] | None, typer.Argument(metavar="[NODE]...", help="All, if none is named.")] = None,
          *, force: Force = False, timeout: options.Timeout = "60s") -> None:
    """Give nodes new keys and certificates at once; nothing is restarted.

    They are renewed by themselves when two thirds of their life have passed.
    """
    from arint.operations.certificates import renew_certificates

    _say(session, session.run(lambda link, progress: renew_certificates(
        link, tuple(nodes or ()), force=force, timeout=options.seconds_of(timeout), progress=progress)), "new")


@verb(app, "rotate", example="arintctl cluster certs rotate --ca")
def rotate(session: Session, *,
           ca: Annotated[bool, typer.Option("--ca", help="The two CAs too, not only what they signed.")] = False,
           force: Force = False, timeout: options.Timeout = "120s") -> None:
    """Put new certificates in the place of all, and with --ca new CAs in the place of both, while everything runs.

    Old and new CAs are trusted until every node has certificates of the new. What ends it half-way does no harm: the
    same again goes on. The timeout is for each step.
    """
    from arint.operations.certificates import renew_certificates, rotate_cas

    within = options.seconds_of(timeout)
    if ca:
        result = session.run(lambda link, progress: rotate_cas(link, force=force, timeout=within, progress=progress))
    else:
        result = session.run(lambda link, progress: renew_certificates(link, force=force, timeout=within,
                                                                       progress=progress))
    _say(session, result, "of the new CAs" if ca else "new")


@verb(app, "revoke", example="arintctl cluster certs revoke node/n2 --yes")
def revoke(session: Session, who: Annotated[str, typer.Argument(metavar="node/NAME|user/NAME")], *,
           yes: options.Yes = False, timeout: options.Timeout = "60s") -> None:
    """Shut a node or a user out at once, whatever certificates they hold; for keys that were lost or stolen.

    Connections are cut, and what ran on the node is placed elsewhere. The name is not let in again while a certificate
    of it lasts.
    """
    from arint.operations.certificates import revoke as operation

    kind, name = _who(who)
    if not yes:
        options.confirm(f"shut {who} out?")
    result = session.run(lambda link, progress: operation(link, kind, name, timeout=options.seconds_of(timeout),
                                                          progress=progress))
    if session.is_data:
        session.data(result)
    elif session.form == "name":
        write(result.name)
    else:
        write(f"{result.name} is shut out; revoked: {len(result.serials)} certificates")


def _who(who: str) -> tuple[Literal["node", "user"], str]:
    match who.partition("/"):
        case ("node", _, name) if name:
            return "node", name
        case ("user", _, name) if name:
            return "user", name
    raise UsageError(f"{who!r} is neither a node nor a user", remedy="write node/NAME or user/NAME")


def _say(session: Session, result: Renewed, what: str) -> None:
    if session.is_data:
        session.data(result)
    elif session.form == "name":
        write("\n".join(result.nodes))
    else:
        left = f"\nleft behind, to join again: {', '.join(result.away)}" if result.away else ""
        write(f"the certificates of {', '.join(result.nodes)} are {what} ({lasting(result.took)}){left}")


def _coloured(rows: Sequence[Certificate], text: str) -> str:
    """What ends soon in yellow, what is refused in red, where somebody looks."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    lines = text.splitlines()
    painted = [_painted(line, _COLOURS.get(row.state, 0)) for row, line in zip(rows, lines[1:], strict=False)]
    return "\n".join([lines[0], *painted])


def _painted(line: str, colour: int) -> str:
    return f"\x1b[{colour}m{line}\x1b[0m" if colour else line
