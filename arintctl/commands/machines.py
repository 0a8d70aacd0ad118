"""cluster add-node, upgrade, remove-node, reset, status: the machines of an inventory, over SSH."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arint.errors import ArintError, NotValidError, UsageError
from arintctl import options
from arintctl.commands.backup import app
from arintctl.output import Column, Table, write
from arintctl.session import Session
from arintctl.text import lasting
from arintctl.verb import verb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from arint.bootstrap.inventory import Host
    from arint.bootstrap.planning import Plan
    from arint.operations.bootstrapping import Setting
    from arint.operations.connect import Link
    from arint.operations.machines import Outcome, Outcomes, Tools, Wishes

InventoryFile = Annotated[Path, typer.Option("-i", "--inventory", metavar="FILE", help="The machines.")]
ClusterName = Annotated[str, typer.Option("--cluster", help="Which cluster of the inventory, where it has several.")]
Limit = Annotated[list[str] | None, typer.Option("--limit", metavar="NODE", help=(
    "Only these machines; may be repeated."))]
Parallel = Annotated[int, typer.Option("--parallel", min=1, max=64, help="How many machines at once.")]
AcceptNew = Annotated[bool, typer.Option("--accept-new", help="Accept host keys of machines that are not known.")]
BundleFile = Annotated[Path | None, typer.Option("--bundle", metavar="FILE", help=(
    "Install this bundle (default: this ARINT's, built where it changed)."))]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Save the plan; change nothing.")]
Saved = Annotated[Path | None, typer.Option("--plan", metavar="FILE", help=(
    "Carry out this saved plan, unless a fact has changed."))]

Names = Annotated[list[str] | None, typer.Argument(metavar="[NODE]...", help=(
    "Nodes of the inventory (default: all of its cluster)."))]
Several = Annotated[list[str], typer.Argument(metavar="NODE...", help="Nodes of the inventory.")]
DEFAULT = Path("inventory.yaml")

STANDINGS = Table((
    Column("NODE", lambda row: row.node),
    Column("HOST", lambda row: row.host),
    Column("ROLES", lambda row: ",".join(row.roles), roomy=True),
    Column("SSH", lambda row: "yes" if row.reached else "no"),
    Column("RELEASE", lambda row: row.release, roomy=True),
    Column("AGENT", lambda row: ("runs" if row.running else "stopped") if row.reached else ""),
    Column("STATE", lambda row: row.state),
    Column("ERROR", lambda row: row.error, long=True),
), name=lambda row: str(row.node), empty="no machine")

OUTCOMES = Table((
    Column("NODE", lambda row: row.node),
    Column("HOST", lambda row: row.host),
    Column("STATE", lambda row: row.state),
    Column("TOOK", lambda row: lasting(row.took)),
    Column("STEPS", lambda row: len(row.effects)),
    Column("ERROR", lambda row: row.error, long=True),
), name=lambda row: str(row.node), empty="no machine")


@verb(app, "add-node", example="arintctl cluster add-node n4 -i inventory.yaml")
def add_node(session: Session, names: Names = None, *, inventory: InventoryFile = DEFAULT, cluster: ClusterName = "",
             limit: Limit = None, parallel: Parallel = 10, accept_new: AcceptNew = False, bundle: BundleFile = None,
             out: Out = None, plan: Saved = None, dry_run: options.DryRun = False, yes: options.Yes = False,
             timeout: options.Timeout = "60s") -> None:
    """Make machines nodes of the cluster, over SSH, from nothing; done when a message has passed through each.

    It goes on where it broke off, and changes nothing where all is done. A machine that fails does not stop the others.
    """
    from arint.operations.bootstrapping import add_nodes

    wishes = _wishes(dry_run=dry_run or out is not None, saved=_saved(plan), parallel=parallel, timeout=timeout)
    setting = _setting(inventory, cluster, names, limit, wishes, accept_new=accept_new,
                       yes=yes or plan is not None, bundle=bundle)
    _run(session, setting, add_nodes, out)


@verb(app, "upgrade", example="arintctl cluster upgrade -i inventory.yaml")
def upgrade(session: Session, names: Names = None, *, inventory: InventoryFile = DEFAULT, cluster: ClusterName = "",
            limit: Limit = None, accept_new: AcceptNew = False, bundle: BundleFile = None,
            drain: Annotated[bool, typer.Option("--drain/--no-drain", help=(
                "Move everything off a node before its agent is started anew."))] = True,
            force: Annotated[bool, typer.Option("--force", help="Stop what no other node takes.")] = False,
            dry_run: options.DryRun = False, yes: options.Yes = False, timeout: options.Timeout = "60s") -> None:
    """Bring nodes to this release, one after the other: drained, switched, proved, given instances again.

    The first that does not come back ends it. The release before stays installed.
    """
    from arint.operations.bootstrapping import upgrade as operation

    wishes = _wishes(dry_run=dry_run, timeout=timeout, force=force)
    setting = _setting(inventory, cluster, names, limit, wishes, accept_new=accept_new, yes=yes, bundle=bundle)
    _run(session, setting, partial(operation, drains=drain))


@verb(app, "remove-node", example="arintctl cluster remove-node n4 -i inventory.yaml")
def remove_node(session: Session, names: Several, *, inventory: InventoryFile = DEFAULT, cluster: ClusterName = "",
                accept_new: AcceptNew = False,
                force: Annotated[bool, typer.Option("--force", help="Stop what no other node takes.")] = False,
                dry_run: options.DryRun = False, yes: options.Yes = False) -> None:
    """Drain nodes, take them out of the cluster, and remove their homes; releases stay installed.

    For a machine that is gone: arintctl node forget.
    """
    from arint.operations.bootstrapping import remove_nodes

    setting = _setting(inventory, cluster, names, None, _wishes(dry_run=dry_run, force=force), accept_new=accept_new,
                       yes=yes)
    _run(session, setting, remove_nodes)


@verb(app, "reset", example="arintctl cluster reset n4 -i inventory.yaml")
def reset(session: Session, names: Several, *, inventory: InventoryFile = DEFAULT, cluster: ClusterName = "",
          accept_new: AcceptNew = False, dry_run: options.DryRun = False, yes: options.Yes = False) -> None:
    """Make machines bare again: agent, home and releases go, with all keys, messages and data. No cluster is asked.

    For a node of a cluster that runs: arintctl cluster remove-node.
    """
    from arint.operations.bootstrapping import reset as operation

    setting = _setting(inventory, cluster, names, None, _wishes(dry_run=dry_run), accept_new=accept_new, yes=yes)
    _run(session, setting, lambda _, setting: operation(setting))


@verb(app, "status", example="arintctl cluster status -i inventory.yaml")
def status(session: Session, *, inventory: InventoryFile = DEFAULT, cluster: ClusterName = "", limit: Limit = None,
           accept_new: AcceptNew = False) -> None:
    """Show how every machine of an inventory stands: reached by SSH, its release, and as the cluster sees it."""
    from arint.operations.bootstrapping import standing

    setting = _setting(inventory, cluster, None, limit, _wishes(), accept_new=accept_new, yes=True)
    session.rows(session.run(lambda link, _: standing(link, setting)), STANDINGS)


def _run(session: Session, setting: Setting, operation: Callable[[Link, Setting], Awaitable[Outcomes]],
         out: Path | None = None) -> None:
    import msgspec

    from arintctl.phases import shown

    with shown(quiet=session.settings.quiet) as tell:
        result = session.run(lambda link, progress: operation(
            link, msgspec.structs.replace(setting, tell=tell, progress=progress)))
    _report(session, result, setting.wishes, out)


def _wishes(*, dry_run: bool = False, saved: Plan | None = None, parallel: int = 10, timeout: str = "60s",
            force: bool = False) -> Wishes:
    from arint.operations.machines import Wishes

    return Wishes(dry_run=dry_run, saved=saved, parallel=parallel, timeout=options.seconds_of(timeout), force=force)


def _setting(file: Path, cluster: str, names: list[str] | None, limit: list[str] | None, wishes: Wishes, *,
             accept_new: bool, yes: bool, bundle: Path | None = None) -> Setting:
    from arint.bootstrap.inventory import load
    from arint.operations.bootstrapping import Setting

    hosts = load(file).cluster(cluster)
    return Setting(hosts=hosts, chosen=chosen(hosts, names, limit), tools=tools(accept_new=accept_new, yes=yes),
                   wishes=wishes, bundle=bundle)


def chosen(hosts: tuple[Host, ...], names: list[str] | None, limit: list[str] | None) -> tuple[Host, ...]:
    """The machines that are meant: by name, or by the address by which they are reached."""
    from arint.resources.problems import nearest

    known = {host.node for host in hosts} | {host.host for host in hosts}
    for name in [*(names or ()), *(limit or ())]:
        if name not in known:
            raise UsageError(f"the inventory has no machine {name!r}", remedy=nearest(name, known) or None)
    found = tuple(host for host in hosts if (not names or {host.node, host.host} & set(names))
                  and (not limit or {host.node, host.host} & set(limit)) and (names or not host.local))
    if not found:
        raise UsageError("no machine is left", remedy="name one, or less with --limit")
    return found


def tools(*, accept_new: bool, yes: bool) -> Tools:
    """What asks the person who typed the command, where there is one."""
    from arint.bootstrap.hostkeys import KnownHosts, everybody, nobody
    from arint.bootstrap.passwords import Passwords
    from arint.operations.machines import Tools

    asks = sys.stdin.isatty()
    trust = everybody if accept_new else _ask_trust if asks else nobody
    return Tools(KnownHosts(trust), Passwords(_ask_password if asks else None), lambda plan: _approve(plan, yes=yes))


def _ask_trust(seen: object) -> bool:
    from arint.bootstrap.hostkeys import Seen

    assert isinstance(seen, Seen)
    return bool(typer.confirm(f"{seen.name} shows the {seen.kind} key {seen.fingerprint}\n"
                              "Is it that machine's key?", err=True))


def _ask_password(purpose: str) -> str:
    return str(typer.prompt(purpose, hide_input=True, err=True, default="", show_default=False))


def _approve(plan: Plan, *, yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("the plan is to be approved, and there is nobody to ask", remedy="add --yes")
    typer.echo(_plan_text(plan), err=True)
    return bool(typer.confirm("Carry this out?", err=True))


def _plan_text(plan: Plan) -> str:
    from arint.bootstrap.effects import phase_of, told

    lines = []
    for host in plan.hosts:
        lines.append(f"{host.node} ({host.host})" + ("" if host.changes else ": nothing to do"))
        lines += [f"  {phase_of(effect):<12} {told(effect)}" for effect in host.changes]
        lines += [f"  note: {note}" for note in host.notes]
    return "\n".join(lines)


def _saved(file: Path | None) -> Plan | None:
    import msgspec

    from arint.bootstrap.planning import Plan

    if file is None:
        return None
    try:
        return msgspec.json.decode(file.read_bytes(), type=Plan)
    except OSError as error:
        raise NotValidError(f"the plan cannot be read: {error.strerror}", where=str(file)) from None
    except msgspec.MsgspecError as error:
        raise NotValidError(f"this is no plan of add-node: {error}", where=str(file),
                            remedy="make one with --out") from None


def _report(session: Session, result: Outcomes, wishes: Wishes, out: Path | None) -> None:
    import msgspec

    if out is not None:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(result.plan), indent=2) + b"\n")
    if session.is_data:
        session.data(result)
    elif wishes.dry_run and session.form != "name":
        write(_plan_text(result.plan) + ("\nnothing was changed (--dry-run)" if out is None else f"\nsaved in {out}"))
    else:
        session.rows(result.outcomes, OUTCOMES)
    _fail(result.outcomes)


def _fail(outcomes: tuple[Outcome, ...]) -> None:
    """Leave with the code of what failed; each machine's problems were told."""
    failed = [one for one in outcomes if one.code]
    if not failed:
        return
    problems = [f"{one.node}: {line}" for one in failed for line in (one.problems or (one.error,))]
    error = NotValidError(f"failed: {', '.join(one.node for one in failed)}", problems=problems,
                          remedy="what is done stays done: mend it, and run the same again")
    error.exit_code = failed[0].code if len({one.code for one in failed}) == 1 else ArintError.exit_code
    raise error


__all__ = ["app"]
