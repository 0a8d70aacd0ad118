"""plan, diff, apply, delete, rollback: changing the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arintctl import options
from arintctl.completion import complete_resource
from arintctl.output import write
from arintctl.session import Session
from arintctl.text import printable
from arintctl.verb import commands, verb

if TYPE_CHECKING:
    from arint.operations.configuration import Applied, Plan
    from arint.resources.diff import Change, FieldChange

app = commands()
CHANGES = 10
"""The exit code of `plan` where there is something to apply."""
_SIGNS = {"added": "+", "changed": "~", "removed": "-"}
_LONGEST_VALUE = 200

Paths = Annotated[list[Path], typer.Argument(metavar="FILE | FOLDER | -", show_default=False, help=(
    "Manifests; folders hold *.yaml, *.yml; - is standard input."))]
Prune = Annotated[bool, typer.Option("--prune", help="Remove what the manifests do not hold.")]
Wheelhouse = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Wheels of what services require; nothing "
                                                 "else is asked ($ARINT_WHEELHOUSE).")]
Upgrade = Annotated[bool, typer.Option("--upgrade", help="Resolve what services require anew.")]
Message = Annotated[str, typer.Option("-m", "--message", help="Why, for the history.")]


def _plan(session: Session, paths: list[Path], *, prune: bool, wheelhouse: Path | None, upgrade: bool) -> Plan:
    """The plan, shown for programs, or its changes for people."""
    from arint.operations.configuration import ApplyArguments
    from arint.operations.configuration import plan as operation

    arguments = ApplyArguments(paths=tuple(paths), prune=prune, wheelhouse=wheelhouse, upgrade=upgrade)
    return session.run(lambda link, progress: operation(link, arguments, progress))


@verb(app, "plan", example="arintctl plan examples/orders")
def plan(session: Session, paths: Paths, *, prune: Prune = False, wheelhouse: Wheelhouse = None,
         upgrade: Upgrade = False) -> None:
    """Show what apply would change, and the revision to check against.

    The exit code is 0 where nothing would change, 10 where something would.
    """
    found = _plan(session, paths, prune=prune, wheelhouse=wheelhouse, upgrade=upgrade)
    if session.is_data:
        session.data(found)
    else:
        _show_changes(session, found.changes, fields=session.form == "wide")
    if session.form in ("table", "wide"):
        words = " ".join(["arintctl apply", *(["--prune"] if prune else []), *(["--upgrade"] if upgrade else []),
                          *([f"--wheelhouse {wheelhouse}"] if wheelhouse else []), f"--check {found.check}",
                          *map(str, paths)])
        write(f"check revision {found.check}" + (f"; to apply exactly this: {words}" if found.changes else ""))
    raise typer.Exit(CHANGES if found.changes else 0)


@verb(app, "diff", example="arintctl diff examples/orders")
def diff(session: Session, paths: Paths, *, prune: Prune = False, wheelhouse: Wheelhouse = None,
         upgrade: Upgrade = False) -> None:
    """Show, field by field, how the manifests differ from what is applied.

    The exit code is 0 where nothing differs, 10 where something does.
    """
    found = _plan(session, paths, prune=prune, wheelhouse=wheelhouse, upgrade=upgrade)
    if session.is_data:
        session.data(found.changes)
    else:
        _show_changes(session, found.changes, fields=True)
    raise typer.Exit(CHANGES if found.changes else 0)


@verb(app, "apply", example="arintctl apply examples/orders --check 3")
def apply(session: Session, paths: Paths, *, prune: Prune = False,
          check: Annotated[int, typer.Option("--check", help="Refuse unless head is this revision of a plan.",
                                             show_default=False)] = -1,
          wheelhouse: Wheelhouse = None, upgrade: Upgrade = False, message: Message = "",
          dry_run: options.DryRun = False, wait: options.Wait = True,
          timeout: options.Timeout = "60s") -> None:
    """Make the cluster what the manifests say; all of it, or nothing.

    Every problem of every manifest is reported at once. What the manifests do not hold stays, unless --prune.
    """
    from arint.operations.configuration import Applied, ApplyArguments
    from arint.operations.configuration import apply as operation
    from arint.operations.configuration import plan as dry

    arguments = ApplyArguments(paths=tuple(paths), prune=prune, check=check, message=message, wait=wait,
                               wheelhouse=wheelhouse, upgrade=upgrade, timeout=options.seconds_of(timeout))
    if dry_run:
        planned = session.run(lambda link, progress: dry(link, arguments, progress))
        show_applied(session, Applied(change_set=planned.check, changes=planned.changes, ready=False), is_dry=True)
        return
    show_applied(session, session.run(lambda link, progress: operation(link, arguments, progress)))


@verb(app, "delete", example="arintctl delete channel/orders-in flow/orders")
def delete(session: Session,
           resources: Annotated[list[str], typer.Argument(metavar="KIND/NAME | KIND NAME",
                                                          autocompletion=complete_resource)],
           *, dry_run: options.DryRun = False, wait: options.Wait = True, timeout: options.Timeout = "60s") -> None:
    """Remove resources; refused while others refer to them."""
    from arint.operations.configuration import delete as operation
    from arint.operations.inventory import keys_of

    keys = list(dict.fromkeys(keys_of(resources)))
    within = options.seconds_of(timeout)
    result = session.run(lambda link, progress: operation(link, keys, dry_run=dry_run, wait=wait, timeout=within,
                                                          progress=progress))
    show_applied(session, result, is_dry=dry_run)


@verb(app, "rollback", example="arintctl rollback --to 3")
def rollback(session: Session, *,
             to: Annotated[int | None, typer.Option("--to", help="The change set; default: the one before.")] = None,
             dry_run: options.DryRun = False, wait: options.Wait = True, timeout: options.Timeout = "60s") -> None:
    """Go back to an earlier change set, as a new one."""
    from arint.operations.configuration import rollback as operation

    within = options.seconds_of(timeout)
    result = session.run(lambda link, progress: operation(link, to, dry_run=dry_run, wait=wait, timeout=within,
                                                          progress=progress))
    show_applied(session, result, is_dry=dry_run)


def show_applied(session: Session, result: Applied, *, is_dry: bool = False) -> None:
    """What was changed, or would be."""
    if session.is_data:
        session.data(result)
        return
    _show_changes(session, result.changes, fields=session.form == "wide")
    if session.form == "name":
        return
    if is_dry:
        write("nothing was changed (--dry-run)")
    elif result.changes:
        state = "everything runs" if result.ready else "it was not waited for"
        write(f"change set {result.change_set} is applied; {state}")


def _show_changes(session: Session, changes: tuple[Change, ...], *, fields: bool) -> None:
    """A line for each resource: added, changed or removed; with `fields`, what differs in it."""
    if session.form == "name":
        write("\n".join(f"{change.kind.lower()}/{change.name}" for change in changes))
    elif not changes:
        write("no change")
    else:
        write("\n".join(line for change in changes for line in _lines(change, fields=fields)))


def _lines(change: Change, *, fields: bool) -> Iterator[str]:
    yield f"{_SIGNS[change.action]} {change.kind.lower()}/{change.name}"
    if fields:
        yield from (f"    {_field(field)}" for field in change.fields)


def _field(field: FieldChange) -> str:
    """`steps[2].call: "service/a" -> "service/b"`, on one line, cut where it is long."""
    import msgspec

    if field.note:
        return printable(": ".join(filter(None, (field.path, field.note))))
    before, after = (_short(value) if value is not msgspec.UNSET else "" for value in (field.before, field.after))
    arrow = f"{before} -> {after}" if before and after else after or f"{before} (gone)"
    return printable(f"{field.path}: {arrow}")


def _short(value: object) -> str:
    import msgspec

    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
