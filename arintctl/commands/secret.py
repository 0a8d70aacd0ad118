"""Secrets: set one, list them, seal them anew. No command prints a value."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from arint.errors import NotFoundError, UsageError
from arintctl import options
from arintctl.commands.configuration import show_applied
from arintctl.completion import complete_secret
from arintctl.output import Column, Table
from arintctl.session import Session
from arintctl.text import Moment
from arintctl.verb import commands, verb

app = commands()
Name = Annotated[str, typer.Argument(metavar="NAME", help="The secret's name.", autocompletion=complete_secret)]

SECRETS = Table((
    Column("NAME", lambda row: row.name),
    Column("SET", lambda row: Moment(row.set)),
    Column("BY", lambda row: row.by, roomy=True),
    Column("KEY", lambda row: row.key),
    Column("KEPT", lambda row: row.kept, wide=True),
    Column("SOURCE", lambda row: row.source, wide=True),
    Column("USED BY", lambda row: ", ".join(row.used_by), roomy=True),
), name=lambda row: str(row.name), empty="no secrets yet; arintctl secret set NAME")

ROTATION = Table((
    Column("KEY", lambda row: row.key),
    Column("SEALED ANEW", lambda row: row.sealed),
    Column("FORGOTTEN", lambda row: row.forgotten),
    Column("KEYS DESTROYED", lambda row: row.destroyed),
), name=lambda row: str(row.key))


@verb(app, "set", example="printf %s \"$TOKEN\" | arintctl secret set crm-token")
def set_(session: Session, name: Name, *,
         file: Annotated[Path | None, typer.Option("--file", help="Read the value from this file.")] = None,
         wait: options.Wait = True, timeout: options.Timeout = "60s") -> None:
    """Give a secret a value: from stdin, a file, or a question that does not echo.

    One line break at the end is not part of it. What uses the secret gets the new value.
    """
    from arint.operations.secrets import set_secret

    value = _value(file)
    within = options.seconds_of(timeout)
    show_applied(session, session.run(lambda link, progress: set_secret(
        link, name, value, wait=wait, timeout=within, progress=progress)))


@verb(app, "list", example="arintctl secret list")
def list_(session: Session) -> None:
    """List the secrets: since when each has its value, which key seals it, and who uses it."""
    from arint.operations.secrets import list_secrets

    session.rows(session.run(lambda link, _: list_secrets(link)), SECRETS)


@verb(app, "describe", example="arintctl secret describe crm-token -o json")
def describe(session: Session, name: Name) -> None:
    """Tell what may be told of a secret; its value may not."""
    from arint.operations.secrets import describe_secret

    found = session.run(lambda link, _: describe_secret(link, name))
    if session.is_data:
        session.data(found)
    else:
        session.rows([found], SECRETS)


@verb(app, "rotate", example="arintctl secret rotate")
def rotate(session: Session) -> None:
    """Seal all secrets anew under a new key, and destroy the keys that nothing needs any more.

    Values stay as they are. Back up pki/secrets.key afterwards.
    """
    from arint.operations.secrets import rotate_secrets

    done = session.run(rotate_secrets)
    if session.is_data:
        session.data(done)
    else:
        session.rows([done], ROTATION)


def _value(file: Path | None) -> bytes:
    """The value, without the one line break that nobody meant."""
    if file is not None and str(file) != "-":
        try:
            raw = file.read_bytes()
        except OSError as error:
            raise NotFoundError(f"the value cannot be read: {error.strerror}", where=str(file)) from None
    elif sys.stdin.isatty():
        raw = str(typer.prompt("value", hide_input=True, confirmation_prompt=True, err=True)).encode()
    else:
        raw = sys.stdin.buffer.read()
    value = raw.removesuffix(b"\n").removesuffix(b"\r")
    if not value:
        raise UsageError("no value was given", remedy="give it on stdin, with --file, or in a terminal")
    return value
