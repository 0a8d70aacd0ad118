"""get, describe, export, history, schema: reading the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from arint.errors import UsageError
from arintctl.completion import complete_kind, complete_resource
from arintctl.output import Column, Table, aligned, columned, show_data, write
from arintctl.session import Session
from arintctl.text import clock, printable
from arintctl.verb import commands, verb

if TYPE_CHECKING:
    from arint.operations.inventory import Description, ResourceView

app = commands()
Words = Annotated[list[str] | None, typer.Argument(metavar="[KIND | KIND/NAME]...", help="Which; none for all.",
                                                   autocompletion=complete_resource)]


def _reference(row: ResourceView) -> str:
    return f"{row.kind.lower()}/{row.name}"


def _state(row: ResourceView) -> str:
    """The status in a few words."""
    status = row.status
    if "url" in status:
        return str(status["url"])
    if "desired" in status:
        return f"{status.get('ready', '?')}/{status['desired']} ready"
    if "available" in status:
        return "available" if status["available"] else f"away since {clock(status['away_since'])}"
    return ""


RESOURCES = Table((
    Column("KIND", lambda row: row.kind),
    Column("NAME", lambda row: row.name),
    Column("STATE", _state),
    Column("VERSION", lambda row: row.status.get("version", ""), wide=True),
    Column("PROCESSED", lambda row: row.status.get("processed", ""), wide=True),
    Column("DESCRIPTION", lambda row: row.spec.get("description", "")),
), name=_reference, empty="nothing is applied yet; arintctl apply examples/orders")


@verb(app, "get", example="arintctl get services -o json")
def get(session: Session, words: Words = None) -> None:
    """List resources and their state."""
    from arint.operations.inventory import get as operation

    asked = tuple(words or ())
    rows = session.run(lambda link, _: operation(link, asked))
    if session.is_data and len(asked) == 1 and "/" in asked[0]:
        session.data(rows[0])
    else:
        session.rows(rows, RESOURCES)


@verb(app, "describe", example="arintctl describe service/price")
def describe(session: Session,
             resource: Annotated[str, typer.Argument(metavar="KIND/NAME", autocompletion=complete_resource)]) -> None:
    """Tell everything about one resource: spec, state, who refers to it."""
    from arint.operations.inventory import describe as operation

    found = session.run(lambda link, _: operation(link, resource))
    if session.is_data:
        session.data(found)
    elif session.form == "name":
        write(_reference(found.resource))
    else:
        write(_described(found))


def _described(found: Description) -> str:
    from arintctl.commands.cluster import INSTANCES

    facts = [[key, printable(str(value))] for key, value in found.resource.status.items() if key != "error"]
    facts.append(["change set", str(found.change_set)])
    facts.append(["uses", ", ".join(found.uses) or "-"])
    facts.append(["used by", ", ".join(found.used_by) or "-"])
    parts = [printable(found.manifest.rstrip(), multiline=True), columned(facts)]
    if found.instances:
        parts.append(aligned(found.instances, INSTANCES, wide=True))
    if "error" in found.resource.status:
        parts.append(printable(found.resource.status["error"], multiline=True))
    return "\n\n".join(parts)


@verb(app, "export", example="arintctl export > all.yaml")
def export(session: Session, words: Words = None, *,
           change_set: Annotated[int | None, typer.Option("--set", help="A change set; default: head.")] = None,
           ) -> None:
    """Write all resources as manifests that apply takes back.

    Secrets are exported by name and digest, never by value. With `-o json`: an array.
    """
    from arint.operations.inventory import export as operation

    text = session.run(lambda link, _: operation(link, tuple(words or ()), number=change_set))
    if session.form == "json":
        from arint.resources.documents import read

        show_data([node.value() for node in read(text)], "json")
    else:
        write(text)


HISTORY = Table((
    Column("SET", lambda row: f"{row.number}{' *' if row.is_head else ''}"),
    Column("WHEN", lambda row: clock(row.at)),
    Column("WHO", lambda row: row.author),
    Column("RESOURCES", lambda row: row.resources),
    Column("CHANGES", lambda row: f"+{len(row.added)} ~{len(row.changed)} -{len(row.removed)}"),
    Column("MESSAGE", lambda row: row.message),
    Column("KEYS", lambda row: " ".join([*(f"+{key}" for key in row.added), *(f"~{key}" for key in row.changed),
                                         *(f"-{key}" for key in row.removed)]), wide=True),
), name=lambda row: str(row.number), empty="nothing was applied yet")


@verb(app, "history", example="arintctl history -o wide")
def history(session: Session) -> None:
    """List the change sets: who changed what, and when."""
    from arint.operations.history import history as operation

    session.rows(session.run(lambda link, _: operation(link)), HISTORY)


@verb(app, "schema", example="arintctl schema channel > channel.schema.json")
def schema(session: Session,
           kind: Annotated[str, typer.Argument(metavar="KIND", autocompletion=complete_kind)]) -> None:
    """Print the JSON Schema of a kind, for editors."""
    from arint.operations.inventory import selector
    from arint.resources.schemas import schema_of

    found, name = selector(kind)
    if not found or name:
        raise UsageError(f"{kind!r} is no kind", remedy="such as service, flow or channel")
    document: Any = schema_of(found)
    session.data(document)
