"""cluster add-node: machines of an inventory, over SSH."""

from __future__ import annotations

import sys
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
    from arint.bootstrap.inventory import Host
    from arint.bootstrap.planning import Plan
    from arint.operations.adding import Added, Outcome, Tools, Wishes

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

OUTCOMES = Table((
    Column("NODE", lambda row: row.node),
    Column("HOST", lambda row: row.host),
    Column("STATE", lambda row: row.state),
    Column("TOOK", lambda row: lasting(row.took)),
    Column("STEPS", lambda row: len(row.effects)),
    Column("ERROR", lambda row: row.error, long=True),
), name=lambda row: str(row.node), empty="no machine")


@verb(app, "add-node", example="arintctl cluster add-node n4 -i inventory.yaml")
def add_node(session: Session,
             names: Annotated[list[str] | None, typer.Argument(metavar="NODE...", help=(
                 "Nodes of the inventory (default: all of its cluster)."))] = None, *,
             inventory: InventoryFile = Path("inventory.yaml"), cluster: ClusterName = "",
             limit: Limit = None, parallel: Parallel = 10, accept_new: AcceptNew = False,
             bundle: BundleFile = None, out: Out = None, plan: Saved = None, dry_run: options.DryRun = False,
             yes: options.Yes = False, timeout: options.Timeout = "60s") -> None:
    """Make machines nodes of the cluster, over SSH, from nothing; done when a message has passed through each.

    It goes on where it broke off, and changes nothing where all is done. A machine that fails does not stop the others.
    """
    from arint.operations.adding import Wishes
    from arint.operations.bootstrapping import add_nodes

    hosts = _hosts(inventory, cluster)
    chosen = _chosen(hosts, names, limit)
    wishes = Wishes(dry_run=dry_run or out is not None, saved=_saved(plan), parallel=parallel,
                    timeout=options.seconds_of(timeout))
    tools = _tools(accept_new=accept_new, yes=yes or plan is not None)
    with _shown(session) as tell:
        result = session.run(lambda link, progress: add_nodes(
            link, hosts, chosen, tools=tools, wishes=wishes, bundle=bundle, tell=tell, progress=progress))
    _report(session, result, wishes, out)


def _hosts(file: Path, cluster: str) -> tuple[Host, ...]:
    from arint.bootstrap.inventory import load

    return load(file).cluster(cluster)


def _chosen(hosts: tuple[Host, ...], names: list[str] | None, limit: list[str] | None) -> tuple[Host, ...]:
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


def _tools(*, accept_new: bool, yes: bool) -> Tools:
    from arint.bootstrap.hostkeys import KnownHosts, everybody, nobody
    from arint.bootstrap.passwords import Passwords
    from arint.operations.adding import Tools

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
    from arint.bootstrap.planning import phase_of, told

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


def _report(session: Session, result: Added, wishes: Wishes, out: Path | None) -> None:
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


def _shown(session: Session):  # type: ignore[no-untyped-def]
    from arintctl.phases import shown

    return shown(quiet=session.settings.quiet)


__all__ = ["app"]
