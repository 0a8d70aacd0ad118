"""Contexts: which cluster arintctl speaks to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arint.errors import UsageError
from arintctl import contexts
from arintctl.completion import complete_context
from arintctl.output import Column, Table
from arintctl.session import Session
from arintctl.verb import commands, verb

app = commands()
Name = Annotated[str, typer.Argument(help="The context's name.", autocompletion=complete_context)]

CONTEXTS = Table((
    Column("CURRENT", lambda row: "*" if row["current"] else " "),
    Column("NAME", lambda row: row["name"]),
    Column("HOME", lambda row: row["home"]),
), name=lambda row: str(row["name"]), empty="no contexts yet; arintctl up records one")


@verb(app, "list", example="arintctl context list")
def list_(session: Session) -> None:
    """List the contexts."""
    known = contexts.load()
    session.rows([{"name": name, "current": name == known.current, "home": context.home}
                  for name, context in known.contexts.items()], CONTEXTS)


@verb(app, "use", example="arintctl context use staging")
def use(session: Session, name: Name) -> None:
    """Make a context the current one."""
    contexts.select(name)
    list_(session)


@verb(app, "add", example="arintctl context add staging /srv/staging")
def add(session: Session, name: Name, folder: Annotated[Path, typer.Argument(help="The home folder.")]) -> None:
    """Record a home as a context, and make it the current one."""
    path = folder.expanduser().absolute()
    if not (path / "node.json").exists():
        raise UsageError(f"{path} is no home of a node", remedy="name the folder that arintctl up made")
    contexts.record(path, name)
    list_(session)


@verb(app, "remove", example="arintctl context remove staging")
def remove(session: Session, name: Name) -> None:
    """Forget a context; the home it names stays as it is."""
    known = contexts.load()
    contexts.find(name, known)
    kept = {key: context for key, context in known.contexts.items() if key != name}
    contexts.save(contexts.Contexts(current="" if known.current == name else known.current, contexts=kept))
    list_(session)
