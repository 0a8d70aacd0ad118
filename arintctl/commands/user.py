"""Users of the cluster: who may administer it over a context, in which role."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from arint.errors import ConflictError, UsageError
from arintctl import contexts
from arintctl.completion import complete_user
from arintctl.output import Column, Table, write
from arintctl.session import Session
from arintctl.text import Moment
from arintctl.verb import commands, verb

app = commands()
Name = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.", autocompletion=complete_user)]
Role = Literal["viewer", "operator", "administrator"]
_DAY = 86400.0

USERS = Table((
    Column("USER", lambda row: row.name),
    Column("ROLE", lambda row: row.role),
    Column("CREATED", lambda row: Moment(row.created)),
    Column("BY", lambda row: row.by, roomy=True),
    Column("EXPIRES", lambda row: Moment(row.expires)),
    Column("SERIAL", lambda row: row.serial, wide=True),
), name=lambda row: str(row.name), empty="no users yet; arintctl user add NAME --role viewer")


@verb(app, "add", example="arintctl user add alice --role operator")
def add(session: Session, name: Annotated[str, typer.Argument(metavar="NAME", help="A DNS label.")], *,
        role: Annotated[Role, typer.Option(help="A viewer reads; an operator also replays, restarts, drains, pauses; "
                                                "an administrator does all.")],
        file: Annotated[Path | None, typer.Option("--file", help="Where to write the context file; "
                                                                 "NAME.context.yaml.")] = None,
        valid: Annotated[str, typer.Option(metavar="DURATION", help="How long the certificate is valid.")] = "90d",
        renew: Annotated[bool, typer.Option("--renew", help="Of a user that there is: another certificate, and this "
                                                            "role.")] = False) -> None:
    """Make a user, and write all that they need into one file for `arintctl context add --file`.

    The private key is made here and stands in that file alone: carry it as you would a password.
    """
    from arint.operations.users import add_user
    from arint.security.users import make_request
    from arintctl.options import seconds_of

    target = file or Path(f"{name}.context.yaml")
    if target.exists() and not renew:
        raise ConflictError("the file is there already", where=str(target), remedy="name another with --file")
    if not target.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {target.absolute().parent}", remedy="make it, or name another --file")
    days = round(seconds_of(valid) / _DAY)
    key, request = make_request(name)
    issued = session.run(lambda link, _: add_user(link, name, role, request, days=days, renew=renew))
    contexts.write_file(target, contexts.ContextFile(
        cluster=issued.cluster, user=name, servers=issued.servers, ca=issued.ca, certificate=issued.certificate,
        key=key))
    if session.is_data:
        session.data({"user": issued.user, "file": str(target)})
    elif session.form == "name":
        write(name)
    else:
        write(f"user {name} is {'renewed' if renew else 'made'}, in the role {role}; {target} holds their key\n"
              f"on their machine: arintctl context add {issued.cluster} --file {target.name}")


@verb(app, "list", example="arintctl user list")
def list_(session: Session) -> None:
    """List the users and their roles."""
    from arint.operations.users import list_users

    session.rows(session.run(lambda link, _: list_users(link)), USERS)


@verb(app, "show", example="arintctl user show alice -o json")
def show(session: Session, name: Name) -> None:
    """Show one user."""
    from arint.operations.users import show_user

    found = session.run(lambda link, _: show_user(link, name))
    if session.is_data:
        session.data(found)
    else:
        session.rows([found], USERS)


@verb(app, "remove", example="arintctl user remove alice")
def remove(session: Session, name: Name) -> None:
    """Take a user away: they are cut off at once, whatever certificate they hold."""
    from arint.operations.users import remove_user

    session.rows([session.run(lambda link, _: remove_user(link, name))], USERS)
