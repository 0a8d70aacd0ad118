"""Engines: list etcd's and nats-server's programs; fetch a newer etcd."""

from __future__ import annotations

from typing import Annotated

import typer

from arintctl.output import Column, Table, write
from arintctl.session import Session
from arintctl.text import printable
from arintctl.verb import commands, verb

app = commands()

ENGINES = Table((
    Column("ENGINE", lambda row: row.engine),
    Column("USED", lambda row: "*" if row.used else " "),
    Column("VERSION", lambda row: row.version),
    Column("WHERE", lambda row: row.place),
    Column("WHY", lambda row: row.reason),
    Column("PATH", lambda row: row.path, long=True),
), name=lambda row: row.path)


@verb(app, "list", example="arintctl engine list")
def list_(session: Session) -> None:
    """List the engines' programs on this machine: which is used, and why not the others."""
    from arint.operations.engines import list_engines

    session.rows(list_engines(), ENGINES)


@verb(app, "fetch", example="arintctl engine fetch etcd")
def fetch(session: Session, name: Annotated[str, typer.Argument(help="The engine: etcd.")], *,
          suite: Annotated[str, typer.Option(help="The suite of Debian (default: the first with an etcd that is new "
                                                  "enough).")] = "",
          again: Annotated[bool, typer.Option("--again", help="Fetch though a good one is there.")] = False) -> None:
    """Fetch Debian's newer etcd into your cache, for clusters of several machines.

    Nothing is installed, and no root is needed. apt checks the suite's signature and the package's hash.
    """
    from arint.operations.engines import FetchArguments
    from arint.operations.engines import fetch as operation
    from arintctl.progress import shown

    with shown(quiet=session.settings.quiet) as progress:
        result = operation(FetchArguments(name=name, suite=suite, again=again), progress)
    if session.is_data:
        session.data(result)
    elif session.form == "name":
        write(printable(result.path))
    else:
        write(f"{result.path}\n{'It was there already' if result.already_there else 'Fetched'}: {result.origin}.")
