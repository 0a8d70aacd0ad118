"""service list, why, restart, scale, promote, abort."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from arintctl import layout, options
from arintctl.completion import complete_service
from arintctl.output import Column, Table, aligned, write
from arintctl.session import Session
from arintctl.text import printable
from arintctl.verb import commands, verb

if TYPE_CHECKING:
    from arint.availability.explaining import Explanation

app = commands()
Name = Annotated[str, typer.Argument(metavar="NAME", help="The service's name; system/http is one too.",
                                     autocompletion=complete_service)]


def _free(row: Any) -> str:
    from arint.limits.ceiling import told

    parts = [f"{row.free_cpu:g} cpu"] if row.free_cpu is not None else []
    return ", ".join([*parts, *([told(row.free_memory)] if row.free_memory is not None else [])])


SERVICES = Table((
    Column("SERVICE", lambda row: row.service),
    Column("STATE", lambda row: row.state),
    Column("READY", lambda row: f"{row.ready}/{row.desired}"),
    Column("UPDATED", lambda row: row.updated, wide=True),
    Column("MODE", lambda row: row.mode, roomy=True),
    Column("NODES", lambda row: ", ".join(row.nodes), roomy=True),
    Column("VERSION", lambda row: row.version[:12], wide=True),
    Column("STABLE", lambda row: row.stable[:12], wide=True),
    Column("ERROR", lambda row: row.error.splitlines()[-1] if row.error else "", long=True),
), name=lambda row: str(row.service), empty="no service is applied yet")

INSTANCES = Table((
    Column("INSTANCE", lambda row: row.instance),
    Column("NODE", lambda row: row.node),
    Column("STATE", lambda row: row.state),
    Column("", lambda row: row.what),
    Column("WHY", lambda row: row.why, long=True),
), name=lambda row: str(row.instance))

NODES = Table((
    Column("NODE", lambda row: row.node),
    Column("TAKES", lambda row: row.takes),
    Column("HAS", lambda row: row.instances),
    Column("LOAD", lambda row: row.load),
    Column("FREE", _free),
    Column("WHY", lambda row: row.why, long=True),
), name=lambda row: str(row.node))


@verb(app, "list", example="arintctl service list -o wide")
def list_(session: Session) -> None:
    """List the services of the whole cluster, the system's own among them."""
    from arint.operations.services import list_services

    session.rows(session.run(lambda link, _: list_services(link)), SERVICES)


@verb(app, "why", example="arintctl service why price")
def why(session: Session, name: Name) -> None:
    """Explain a service's placement: why each instance is where it is, and why each node takes one more or does not."""
    from arint.operations.services import why as operation

    found = session.run(lambda link, _: operation(link, _bare(name)))
    if session.is_data:
        session.data(found)
    elif session.form == "name":
        write("\n".join(printable(one.node) for one in found.nodes if one.takes))
    else:
        write(_explained(found))


@verb(app, "restart", example="arintctl service restart price")
def restart(session: Session, name: Name, *, dry_run: options.DryRun = False,
            wait: options.Wait = True, timeout: options.Timeout = "2m") -> None:
    """Replace each instance by a new process of the same version, as an update does: a few at a time, with no gap."""
    from arint.operations.services import restart as operation

    within = options.seconds_of(timeout)
    result = session.run(lambda link, progress: operation(link, _bare(name), dry_run=dry_run, wait=wait,
                                                          timeout=within, progress=progress))
    if dry_run:
        told = f"{result.instances} instances would be replaced; nothing was changed (--dry-run)"
    else:
        told = f"{result.instances} instances " + ("are replaced" if result.done else "are being replaced")
    _show(session, result, f"{result.service}: {told}")


@verb(app, "scale", example="arintctl service scale price 4")
def scale(session: Session, name: Name,
          replicas: Annotated[int, typer.Argument(min=0, max=10000, help="How many there shall be.")], *,
          dry_run: options.DryRun = False, wait: options.Wait = True, timeout: options.Timeout = "60s") -> None:
    """Declare another number of replicas: a change set, as apply makes one. The next apply of a manifest says anew."""
    from arint.operations.services import scale as operation
    from arintctl.commands.configuration import show_applied

    within = options.seconds_of(timeout)
    result = session.run(lambda link, progress: operation(link, _bare(name), replicas, dry_run=dry_run, wait=wait,
                                                          timeout=within, progress=progress))
    show_applied(session, result, is_dry=dry_run)


@verb(app, "promote", example="arintctl service promote price")
def promote(session: Session, name: Name, *, dry_run: options.DryRun = False,
            wait: options.Wait = True, timeout: options.Timeout = "2m") -> None:
    """Let the version of the canaries take over everywhere."""
    from arint.operations.services import promote as operation

    within = options.seconds_of(timeout)
    result = session.run(lambda link, progress: operation(link, _bare(name), dry_run=dry_run, wait=wait,
                                                          timeout=within, progress=progress))
    _show(session, result, _decided(result, "takes over", dry_run))


@verb(app, "abort", example="arintctl service abort price --reason 'prices are wrong'")
def abort(session: Session, name: Name, *,
          reason: Annotated[str, typer.Option(help="Told to whoever asks why.")] = "",
          dry_run: options.DryRun = False, wait: options.Wait = True, timeout: options.Timeout = "2m") -> None:
    """Give up a new version, canaries or an update under way: the stable version runs again everywhere."""
    from arint.operations.services import abort as operation

    within = options.seconds_of(timeout)
    result = session.run(lambda link, progress: operation(link, _bare(name), reason=reason, dry_run=dry_run,
                                                          wait=wait, timeout=within, progress=progress))
    _show(session, result, _decided(result, "is given up", dry_run))


def _show(session: Session, result: Any, told: str) -> None:
    if session.is_data:
        session.data(result)
    else:
        write(result.service if session.form == "name" else told)


def _decided(result: Any, what: str, is_dry: bool) -> str:
    told = f"{result.service}: version {result.version[:12]} {what}"
    if is_dry:
        return f"{told}; nothing was changed (--dry-run)"
    return told if result.done else f"{told}; it was not waited for"


def _explained(found: Explanation) -> str:
    lines = [f"{found.service} ({found.mode}): {found.ready} of {found.wanted} ready"]
    if found.trial:
        lines.append(f"canaries of version {found.version[:12]} run beside {found.stable[:12]}: "
                     f"arintctl service promote {found.service}, or abort")
    elif found.failed == found.version and found.error:
        lines.append(f"version {found.failed[:12]} was given up: {found.error.splitlines()[-1]}")
    parts = [printable("\n".join(lines), multiline=True)]
    if found.instances:
        parts.append(aligned(found.instances, INSTANCES, wide=False, width=layout.width()))
    parts.append(aligned(found.nodes, NODES, wide=False, width=layout.width()))
    return "\n\n".join(parts)


def _bare(name: str) -> str:
    return name.removeprefix("service/")
