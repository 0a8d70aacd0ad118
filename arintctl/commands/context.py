"""Contexts: which cluster arintctl speaks to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from arint.errors import UsageError
from arintctl import contexts, layout
from arintctl.completion import complete_context
from arintctl.output import Column, Table, write
from arintctl.session import Session
from arintctl.text import clock
from arintctl.verb import commands, verb

app = commands()
Name = Annotated[str, typer.Argument(help="The context's name.", autocompletion=complete_context)]

CONTEXTS = Table((
    Column("CURRENT", lambda row: "*" if row["current"] else " "),
    Column("NAME", lambda row: row["name"]),
    Column("CLUSTER", lambda row: row["cluster"]),
    Column("USER", lambda row: row["user"]),
    Column("WHERE", lambda row: row["home"] or ", ".join(row["servers"]), long=True),
    Column("READ ONLY", lambda row: "yes" if row["read_only"] else "", roomy=True),
), name=lambda row: str(row["name"]), empty="no contexts yet; arintctl up records one")


@verb(app, "list", example="arintctl context list")
def list_(session: Session) -> None:
    """List the contexts."""
    known = contexts.load()
    session.rows([_row(name, context, known) for name, context in known.contexts.items()], CONTEXTS)


def _row(name: str, context: contexts.Context, known: contexts.Contexts) -> dict[str, Any]:
    return {"name": name, "current": name == known.current, "home": context.home, "cluster": context.cluster,
            "user": context.user, "servers": list(context.servers), "read_only": context.read_only}


@verb(app, "show", example="arintctl context show staging")
def show(session: Session, name: Name) -> None:
    """Show a context: where it leads, as whom, and until when its certificate is valid."""
    known = contexts.load()
    row = _row(name, contexts.find(name, known), known)
    if not row["home"]:
        row["expires"] = _expiry(contexts.pem(name, "certificate"))
    if session.is_data:
        session.data(row)
    elif session.form == "name":
        write(name)
    else:
        pairs = [("context", name), ("home", row["home"]), ("cluster", row["cluster"]), ("user", row["user"]),
                 ("servers", " ".join(row["servers"])), ("read only", "yes" if row["read_only"] else ""),
                 ("expires", clock(row["expires"]) if row.get("expires") else "")]
        write(layout.facts([(what, value) for what, value in pairs if value], layout.width()))


def _expiry(certificate: Path) -> float:
    """In seconds since the epoch; 0 where it cannot be read."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return 0.0


@verb(app, "use", example="arintctl context use staging")
def use(session: Session, name: Name) -> None:
    """Make a context the current one."""
    contexts.select(name)
    list_(session)


@verb(app, "add", example="arintctl context add staging --file alice.context.yaml")
def add(session: Session, name: Annotated[str, typer.Argument(help="The context's name.")],
        folder: Annotated[Path | None, typer.Argument(help="The home folder of a node on this machine.")] = None, *,
        file: Annotated[Path | None, typer.Option("--file", help="What arintctl user add wrote.")] = None,
        read_only: Annotated[bool, typer.Option("--read-only", help="Refuse what changes anything.")] = False) -> None:
    """Record a home, or a user's way to a cluster elsewhere, as a context, and make it the current one."""
    if (folder is None) == (file is None):
        raise UsageError("name a home folder, or a file with --file", remedy="arintctl context add --help")
    if file is not None:
        contexts.take_in(contexts.read_file(file), name, read_only=read_only)
    elif folder is not None:
        if read_only:
            raise UsageError("who owns a home may do everything in it", remedy="--read-only goes with --file")
        path = folder.expanduser().absolute()
        if not (path / "node.json").exists():
            raise UsageError(f"{path} is no home of a node", remedy="name the folder that arintctl up made")
        contexts.record(path, name)
    list_(session)


@verb(app, "remove", example="arintctl context remove staging")
def remove(session: Session, name: Name) -> None:
    """Forget a context, and its certificate and key; a home that it names stays as it is."""
    contexts.remove(name)
    list_(session)


@verb(app, "rename", example="arintctl context rename staging test")
def rename(session: Session, name: Name, new: Annotated[str, typer.Argument(help="Its new name.")]) -> None:
    """Give a context another name."""
    contexts.rename(name, new)
    list_(session)
