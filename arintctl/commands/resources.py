"""get, describe, export, history, schema: reading the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from arint.errors import UsageError
from arintctl import layout
from arintctl.completion import complete_kind, complete_resource
from arintctl.output import Column, Table, aligned, show_data, write
from arintctl.session import Session
from arintctl.text import Moment, clock, last_line, printable
from arintctl.verb import commands, verb

if TYPE_CHECKING:
    from arint.operations.connect import Link
    from arint.operations.inventory import Description, ResourceView
    from arint.operations.progress import Progress

app = commands()
Words = Annotated[list[str] | None, typer.Argument(metavar="KIND [NAME] | KIND/NAME", help="Which; none for all.",
                                                   autocompletion=complete_resource)]


def _reference(row: ResourceView) -> str:
    return f"{row.kind.lower()}/{row.name}"


def _state(row: ResourceView) -> str:
    """The status in a few words."""
    status = row.status
    if "url" in status:
        return str(status["url"])
    if "desired" in status:
        failed = ", another version failed" if status.get("error") else ""
        return f"{status.get('ready', '?')}/{status['desired']} ready{failed}"
    if "available" in status:
        return "available" if status["available"] else f"away since {clock(status['away_since'])}"
    return ""


def _error(row: ResourceView) -> str:
    """What went wrong last, in a line."""
    return last_line(str(row.status.get("error", "")))


RESOURCES = Table((
    Column("KIND", lambda row: row.kind),
    Column("NAME", lambda row: row.name),
    Column("STATE", _state),
    Column("VERSION", lambda row: row.status.get("version", ""), wide=True),
    Column("PROCESSED", lambda row: row.status.get("processed", ""), wide=True),
    Column("DESCRIPTION", lambda row: row.spec.get("description", ""), roomy=True),
    Column("ERROR", _error, wide=True),
), name=_reference, empty="nothing is applied yet; arintctl apply examples/orders")


@verb(app, "get", example="arintctl get services -o json")
def get(session: Session, words: Words = None) -> None:
    """List resources and their state."""
    from arint.operations.inventory import get as operation
    from arint.operations.inventory import selectors

    asked = tuple(words or ())
    wanted = selectors(asked)
    rows = session.run(lambda link, _: operation(link, asked))
    if session.is_data and len(wanted) == 1 and wanted[0][1]:
        session.data(rows[0])
    else:
        session.rows(rows, RESOURCES, empty=f"there is no {' or '.join(kind.lower() for kind, _ in wanted)}"
                     if wanted and all(kind for kind, _ in wanted) else "")


@verb(app, "describe", example="arintctl describe service/price")
def describe(session: Session,
             words: Annotated[list[str], typer.Argument(metavar="KIND/NAME | KIND NAME",
                                                        autocompletion=complete_resource)]) -> None:
    """Tell everything about a resource: spec, state, who refers to it."""
    from arint.operations.inventory import describe as operation
    from arint.operations.inventory import keys_of

    keys = keys_of(words)

    async def every(link: Link, _: Progress) -> list[Description]:
        return [await operation(link, key) for key in keys]

    found = session.run(every)
    if session.is_data:
        session.data(found[0] if len(found) == 1 else found)
    elif session.form == "name":
        write("\n".join(_reference(one.resource) for one in found))
    else:
        write("\n\n".join(_described(one, wide=session.form == "wide") for one in found))


def _described(found: Description, *, wide: bool) -> str:
    from arint.operations.inventory import spoken
    from arintctl.commands.cluster import INSTANCES, last_ends

    pairs = [(name.replace("_", " "), _fact(name, value)) for name, value in found.resource.status.items()
             if name != "error"]
    pairs.append(("change set", str(found.change_set)))
    pairs.append(("uses", ", ".join(map(spoken, found.uses)) or "-"))
    pairs.append(("used by", ", ".join(map(spoken, found.used_by)) or "-"))
    parts = [printable(found.manifest.rstrip(), multiline=True), layout.facts(pairs, layout.width())]
    if found.instances:
        parts.append(aligned(found.instances, INSTANCES, wide=wide, width=layout.width()))
        parts += last_ends(found.instances)
    if "error" in found.resource.status:
        parts.append(printable(found.resource.status["error"], multiline=True))
    return "\n\n".join(parts)


def _fact(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return clock(float(str(value))) if name == "away_since" else printable(str(value))


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
    Column("WHEN", lambda row: Moment(row.at)),
    Column("WHO", lambda row: row.author),
    Column("RESOURCES", lambda row: row.resources),
    Column("CHANGES", lambda row: f"+{len(row.added)} ~{len(row.changed)} -{len(row.removed)}"),
    Column("MESSAGE", lambda row: row.message, long=True),
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
