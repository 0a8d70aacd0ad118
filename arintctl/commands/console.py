"""console (and its other name, tui), overview: the cluster at one look, live or once."""

from __future__ import annotations

import os
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from arint.errors import UsageError
from arintctl import layout
from arintctl.output import Column, Table, aligned, complete, write
from arintctl.session import Session
from arintctl.text import Moment
from arintctl.verb import commands, verb

if TYPE_CHECKING:
    from arint.operations.connect import Link
    from arint.operations.overview import Overview, Rates

app = commands()


@verb(app, "overview", example="arintctl overview -o json")
def overview(session: Session, *,
             follow: Annotated[bool, typer.Option("-f", "--follow", help="One a second, until interrupted.")] = False,
             ) -> None:
    """Show what the console shows, once: services, throughput, failures.

    It takes a second: throughput is what happened between two looks. With `-o json` and --follow: a JSON object a line.
    """
    from arint.operations.following import look

    if follow:
        session.run(lambda link, _: _follow(session, link))
    else:
        _show(session, session.run(lambda link, _: look(link)))


@verb(app, "console", example="arintctl console")
def console(session: Session) -> None:
    """Open the console: a live overview in the terminal."""
    _become_the_console(session)


@verb(app, "tui", example="arintctl tui")
def tui(session: Session) -> None:
    """Open the console: a live overview in the terminal (the same as console)."""
    _become_the_console(session)


def _become_the_console(session: Session) -> NoReturn:
    """The console is a program of its own: it and the command line know nothing of each other."""
    from arintctl.contexts import access_of

    access = access_of(session.settings.home, session.settings.context)
    if access is None:
        home = session.home()
        home.load()  # it says so where no node was set up
        where = ["--home", str(home.path)]
    else:
        import msgspec

        where = ["--access", msgspec.json.encode(access).decode()]  # addresses and paths: nothing that is secret
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("the console needs a terminal", remedy="without one: arintctl overview")
    # -P: a folder `tui` where the user happens to stand is not the console.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "tui", *where])  # noqa: S606


async def _follow(session: Session, link: Link) -> None:
    from arint.operations.following import overviews

    async with aclosing(overviews(link)) as found:  # type: ignore[type-var]
        async for one in found:
            if session.is_data:
                import msgspec

                write(msgspec.json.encode(complete(one)).decode())
            else:
                write(_text(one, wide=session.form == "wide") + "\n")
            sys.stdout.flush()


def _show(session: Session, found: Overview) -> None:
    if session.is_data:
        session.data(found)
    elif session.form == "name":
        write("\n".join(service.service for service in found.services))
    else:
        write(_text(found, wide=session.form == "wide"))


def _text(found: Overview, *, wide: bool) -> str:
    parts = [aligned(rows, table, wide=wide, width=layout.width()) for rows, table in (
        ((found,), CLUSTER), (found.nodes, NODES), (found.engines, ENGINES), (found.services, SERVICES),
        (found.instances, INSTANCES), (found.circuits, CIRCUITS), (found.failures, FAILURES)) if rows]
    return "\n\n".join(parts)


def _processed(rates: Rates | None) -> str:
    return f"{rates.processed:.1f}" if rates is not None else "-"


def _accepted(rates: Rates | None) -> str:
    return f"{rates.accepted:.1f}" if rates is not None else "-"


CLUSTER = Table((
    Column("CLUSTER", lambda one: one.cluster),
    Column("CHANGE SET", lambda one: one.change_set or ""),
    Column("STATE", lambda one: "ready" if one.ready else "not ready"),
    Column("READY", lambda one: f"{one.totals.ready}/{one.totals.instances}"),
    Column("MSG/S", lambda one: _processed(one.totals.rates)),
    Column("ACCEPTED/S", lambda one: _accepted(one.totals.rates)),
    Column("DEAD LETTERS", lambda one: "-" if one.totals.dead_letters is None else one.totals.dead_letters),
    Column("AWAY", lambda one: one.totals.open_circuits),
), name=lambda one: str(one.cluster))

_STATE = Column("STATE", lambda one: "ready" if one.ready else "not ready")
NODES = Table((
    Column("NODE", lambda one: one.node), Column("STATE", lambda one: one.state),
    Column("VERSION", lambda one: one.version),
    Column("INSTANCES", lambda one: one.instances), Column("ERROR", lambda one: one.error, wide=True),
), name=lambda one: str(one.node))

ENGINES = Table((
    Column("ENGINE", lambda one: one.name), _STATE, Column("VERSION", lambda one: one.version),
    Column("RESTARTS", lambda one: one.restarts), Column("NODE", lambda one: one.node, roomy=True),
    Column("PID", lambda one: one.pid, wide=True),
), name=lambda one: str(one.name))

SERVICES = Table((
    Column("SERVICE", lambda one: one.service),
    Column("STATE", lambda one: one.state),
    Column("READY", lambda one: f"{one.ready}/{one.instances}"),
    Column("MSG/S", lambda one: _processed(one.rates)),
    Column("ACCEPTED/S", lambda one: _accepted(one.rates)),
    Column("FAILED", lambda one: one.counts.failed),
    Column("IN FLIGHT", lambda one: one.in_flight),
), name=lambda one: str(one.service))

INSTANCES = Table((
    Column("INSTANCE", lambda one: one.instance),
    Column("STATE", lambda one: one.state),
    Column("MSG/S", lambda one: _processed(one.rates)),
    Column("IN FLIGHT", lambda one: one.in_flight),
    Column("RESTARTS", lambda one: one.restarts),
    Column("NODE", lambda one: one.node, wide=True),
    Column("PID", lambda one: one.pid, wide=True),
), name=lambda one: str(one.instance))

CIRCUITS = Table((
    Column("AWAY", lambda one: one.connection),
    Column("SINCE", lambda one: Moment(one.since)),
    Column("FOUND BY", lambda one: ", ".join(one.instances)),
), name=lambda one: str(one.connection))

FAILURES = Table((
    Column("WHEN", lambda one: Moment(one.at)),
    Column("WHO", lambda one: one.who),
    Column("WHAT", lambda one: one.kind),
    Column("TIMES", lambda one: one.count),
    Column("WHY", lambda one: one.text, long=True),
), name=lambda one: str(one.who))
