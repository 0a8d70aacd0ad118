"""Channels: what they are, their OpenAPI document, and a sample through one."""

from __future__ import annotations

import mimetypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arint.errors import ArintError, NotFoundError, UsageError
from arintctl import layout, options
from arintctl.completion import complete_channel
from arintctl.output import Column, Table, aligned, write
from arintctl.session import Session
from arintctl.text import lasting, printable
from arintctl.verb import commands, verb

if TYPE_CHECKING:
    from arint.operations.channels import ChannelInfo, TryResult

app = commands()
Name = Annotated[str, typer.Argument(metavar="NAME", help="The channel's name.", autocompletion=complete_channel)]

CHANNELS = Table((
    Column("CHANNEL", lambda row: row.name),
    Column("TRANSPORT", lambda row: row.transport),
    Column("METHODS", lambda row: ", ".join(row.methods), roomy=True),
    Column("ADDRESS", lambda row: row.url),
    Column("AUTH", lambda row: row.auth, wide=True),
    Column("DELIVERY", lambda row: row.delivery),
    Column("TO", lambda row: row.to),
    Column("DESCRIPTION", lambda row: row.description, long=True),
), name=lambda row: str(row.name), empty="no channel is applied yet")

QUERIES = Table((
    Column("QUERY", lambda row: row.name),
    Column("METHOD", lambda row: row.method),
    Column("ADDRESS", lambda row: row.url),
    Column("PARAMETERS", lambda row: ", ".join(row.parameters)),
    Column("ROLES", lambda row: ", ".join(row.roles)),
    Column("DESCRIPTION", lambda row: row.description, long=True),
), name=lambda row: str(row.name))


@verb(app, "list", example="arintctl channel list")
def list_(session: Session) -> None:
    """List the channels and their addresses."""
    from arint.operations.channels import list_channels

    session.rows(session.run(lambda link, _: list_channels(link)), CHANNELS)


@verb(app, "show", example="arintctl channel show orders-in")
def show(session: Session, name: Name) -> None:
    """Show a channel as its callers meet it: address, credentials, body, and the curl line."""
    from arint.operations.channels import show_channel

    found = session.run(lambda link, _: show_channel(link, name))
    if session.is_data:
        session.data(found)
    elif session.form == "name":
        write(found.name)
    else:
        write(_shown(found))


def _shown(found: ChannelInfo) -> str:
    import msgspec

    pairs = [("channel", found.name), ("description", found.description), ("address", found.url),
             ("methods", ", ".join(found.methods)), ("credentials", found.auth), ("to", found.to),
             ("delivery", found.delivery)]
    parts = [layout.facts([(name, printable(value)) for name, value in pairs if value], layout.width())]
    if found.queries:
        parts.append(aligned(found.queries, QUERIES, wide=False, width=layout.width()))
    for title, schema in (("takes", found.payload), ("gives", found.result)):
        if schema is not None:
            parts.append(f"{title}\n{msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()}")
    return "\n\n".join([*parts, *([found.curl] if found.curl else [])])


@verb(app, "openapi", example="arintctl channel openapi orders-in > orders.json")
def openapi(session: Session,
            names: Annotated[list[str] | None, typer.Argument(metavar="NAME…", help="Which; none for all.",
                                                              autocompletion=complete_channel)] = None) -> None:
    """Print the OpenAPI 3.1 document of channels, as JSON; with -o yaml as YAML."""
    from arint.operations.channels import openapi as operation

    session.data(session.run(lambda link, _: operation(link, tuple(names or ()))))


@verb(app, "try", example="arintctl channel try orders-in examples/orders/samples/01-bolts.json --wait")
def try_(session: Session, name: Name,
         sample: Annotated[Path | None, typer.Argument(metavar="FILE", help="The body; - for stdin.")] = None, *,
         method: Annotated[str, typer.Option(help="Default: the channel's first.")] = "",
         header: Annotated[list[str] | None, typer.Option("-H", "--header", metavar="NAME=VALUE",
                                                          help="A header; goes before the channel's own.")] = None,
         param: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter of the path.")] = None,
         query: Annotated[str, typer.Option(help="What stands after the ? in the address.")] = "",
         content_type: Annotated[str, typer.Option(help="Of the body (default: by the file's name; JSON).")] = "",
         wait: Annotated[bool, typer.Option("--wait", help="Follow the message to its end, as why does.")] = False,
         timeout: options.Timeout = "30s") -> None:
    """Send a sample through a channel, as a caller would, and show the answer.

    With the channel's own method, address and credentials: the key is read from the secret and never printed. Shows
    the equal curl line. It really is sent: the message goes through the flow.
    """
    from arint.operations.channels import TryArguments, try_channel

    arguments = TryArguments(
        channel=name, body=_read(sample) if sample is not None else None, method=method, query=query,
        content_type=content_type or _type_of(sample), headers=dict(map(_pair, header or ())),
        parameters=dict(map(_pair, param or ())), wait=wait, timeout=options.seconds_of(timeout))
    result = session.run(lambda link, progress: try_channel(link, arguments, progress))
    if session.is_data:
        session.data(result)
    elif session.form == "name":
        write(result.message)
    else:
        write(_answered(result))
    _refuse_failure(result)


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise UsageError(f"{text!r} is no NAME=VALUE")
    return name, value


def _read(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise NotFoundError(f"cannot be read: {error.strerror}", where=str(file)) from None


def _type_of(file: Path | None) -> str:
    return (mimetypes.guess_type(file.name)[0] if file is not None else None) or "application/json"


def _answered(result: TryResult) -> str:
    from arintctl.commands.message import body_shown
    from arintctl.tree import story_text

    lines = [printable(f"{result.status} {result.reason}  after {lasting(result.took)}"),
             *(printable(f"{name}: {value}") for name, value in result.headers.items())]
    parts = [printable(result.curl), "\n".join(lines)]
    if result.body or result.body_base64:
        parts.append(body_shown(result.body, result.body_base64))
    if result.story is not None:
        parts.append(story_text(result.story, layout.width()))
    elif result.message:
        parts.append(f"arintctl why {result.message}")
    return "\n\n".join(parts)


_REMEDIES = {
    401: "the secret may have been changed by hand; apply the manifest that declares it",
    404: "arintctl status; a channel is served once apply has ended", 405: "--method names another",
    413: "the channel's limits.body is less", 415: "--content-type says what it is",
    503: "nothing was stored: try again; arintctl doctor tells what is full or away",
}


def _refuse_failure(result: TryResult) -> None:
    if result.status >= 400:
        raise ArintError(f"answered {result.status} {result.reason}", where=f"channel/{result.channel}",
                         remedy=_REMEDIES.get(result.status))
    if result.story is not None and result.story.state == "dead":
        raise ArintError("the message became a dead letter", where=result.message,
                         remedy=f"arintctl dlq show {result.message}")
