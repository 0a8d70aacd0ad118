"""node list, show, cordon, uncordon, drain, label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from arint.errors import UsageError
from arintctl import layout, options
from arintctl.completion import complete_node
from arintctl.output import Column, Table, aligned, write
from arintctl.session import Session
from arintctl.text import Moment, printable
from arintctl.verb import commands, verb

if TYPE_CHECKING:
    from arint.operations.nodes import Drained, NodeDetails, NodeInfo

app = commands()
Name = Annotated[str, typer.Argument(metavar="NODE", help="The node's name.", autocompletion=complete_node)]


def _labels(row: Any) -> str:
    return ", ".join(f"{key}={value}" for key, value in row.labels.items())


def _rtt(row: Any) -> str:
    return "" if row.rtt is None else f"{row.rtt * 1000:.2f} ms"


def _capacity(row: Any) -> str:
    from arint.limits.ceiling import told

    parts = [f"{row.capacity.cpu:g} cpu"] if row.capacity.cpu else []
    return ", ".join([*parts, *([told(row.capacity.memory)] if row.capacity.memory else [])])


NODES = Table((
    Column("NODE", lambda row: row.node),
    Column("STATE", lambda row: row.state),
    Column("READY", lambda row: f"{row.ready}/{row.instances}"),
    Column("RTT", _rtt),
    Column("LABELS", _labels, roomy=True),
    Column("CAPACITY", _capacity, roomy=True),
    Column("HOST", lambda row: row.host, roomy=True),
    Column("RELEASE", lambda row: row.release, wide=True),
    Column("LEADS", lambda row: row.leads, wide=True),
    Column("SINCE", lambda row: Moment(row.since) if row.since else "", wide=True),
), name=lambda row: str(row.node), empty="the cluster has no nodes yet")

INSTANCES = Table((
    Column("INSTANCE", lambda row: row.instance),
    Column("SERVICE", lambda row: row.service),
    Column("STATE", lambda row: row.state),
    Column("VERSION", lambda row: row.version[:12], wide=True),
    Column("ERROR", lambda row: row.error, long=True),
), name=lambda row: str(row.instance), empty="nothing runs there")

MOVES = Table((
    Column("INSTANCE", lambda row: row.instance),
    Column("SERVICE", lambda row: row.service),
    Column("TO", lambda row: row.node),
    Column("AS", lambda row: row.by),
    Column("WHY NOT", lambda row: row.why, long=True),
), name=lambda row: str(row.instance), empty="nothing runs there")


@verb(app, "list", example="arintctl node list -o wide")
def list_(session: Session) -> None:
    """List the nodes: state, instances, labels, and how far each is from the one that is asked."""
    from arint.operations.nodes import list_nodes

    session.rows(session.run(lambda link, _: list_nodes(link)), NODES)


@verb(app, "show", example="arintctl node show n2")
def show(session: Session, name: Name) -> None:
    """Show a node and what runs on it."""
    from arint.operations.nodes import show_node

    found = session.run(lambda link, _: show_node(link, name))
    if session.is_data:
        session.data(found)
    elif session.form == "name":
        write("\n".join(printable(one.instance) for one in found.instances))
    else:
        write(_details(found, wide=session.form == "wide"))


@verb(app, "cordon", example="arintctl node cordon n2")
def cordon(session: Session, name: Name) -> None:
    """Give a node nothing new; what runs there stays."""
    from arint.operations.nodes import cordon as operation

    _show_changed(session, session.run(lambda link, _: operation(link, name)))


@verb(app, "uncordon", example="arintctl node uncordon n2")
def uncordon(session: Session, name: Name) -> None:
    """Let a node be given instances again, also one that was drained. Nothing moves back by itself."""
    from arint.operations.nodes import uncordon as operation

    _show_changed(session, session.run(lambda link, _: operation(link, name)))


@verb(app, "label", example="arintctl node label n2 zone=a rack-")
def label(session: Session, name: Name,
          labels: Annotated[list[str], typer.Argument(metavar="KEY=VALUE | KEY-",
                                                      help="Labels to set; KEY- takes one away.")]) -> None:
    """Set or take away labels of a node; services whose placement asks for others move."""
    from arint.operations.nodes import label as operation

    given = dict(map(_label, labels))
    _show_changed(session, session.run(lambda link, _: operation(link, name, given)))


@verb(app, "drain", example="arintctl node drain n2 --dry-run")
def drain(session: Session, name: Name, *,
          force: Annotated[bool, typer.Option("--force", help="Stop what no other node takes.")] = False,
          dry_run: options.DryRun = False,
          wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until nothing runs there.")] = True,
          timeout: options.Timeout = "5m") -> None:
    """Move everything off a node: start elsewhere, wait until healthy, then stop; singletons stop first.

    Refused, with the reason, while something has nowhere to go. The node stays cordoned until it is uncordoned.
    """
    from arint.operations.nodes import DrainArguments
    from arint.operations.nodes import drain as operation

    arguments = DrainArguments(node=name, force=force, dry_run=dry_run, wait=wait, timeout=options.seconds_of(timeout))
    result = session.run(lambda link, progress: operation(link, arguments, progress))
    if session.is_data:
        session.data(result)
    elif session.form == "name":
        write("\n".join(printable(move.instance) for move in result.moves))
    else:
        write(_drained(result, is_dry=dry_run))


def _show_changed(session: Session, found: NodeInfo) -> None:
    if session.is_data:
        session.data(found)
    elif session.form == "name":
        write(found.node)
    else:
        write(aligned([found], NODES, wide=session.form == "wide", width=layout.width()))


def _details(found: NodeDetails, *, wide: bool) -> str:
    node = found.node
    pairs = [("node", node.node), ("state", node.state), ("host", node.host), ("release", node.release),
             ("labels", _labels(node)), ("capacity", _capacity(node)), ("round trip", _rtt(node))]
    parts = [layout.facts([(name, printable(value)) for name, value in pairs if value], layout.width())]
    if found.instances:
        parts.append(aligned(found.instances, INSTANCES, wide=wide, width=layout.width()))
    return "\n\n".join(parts)


def _drained(result: Drained, *, is_dry: bool) -> str:
    parts = [aligned(result.moves, MOVES, wide=False, width=layout.width())] if result.moves else []
    if is_dry:
        parts.append("nothing was changed (--dry-run)")
    elif result.done:
        parts.append(f"node {result.node} is drained; arintctl node uncordon {result.node} takes it back")
    else:
        parts.append(f"node {result.node} is being drained; it was not waited for")
    return "\n\n".join(parts)


def _label(text: str) -> tuple[str, str | None]:
    """Raises UsageError for what neither sets a label nor takes one away."""
    import re

    key, sign, value = text.partition("=")
    if not sign and text.endswith("-"):
        key, value = text[:-1], ""
    form = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
    if not re.fullmatch(form, key) or not (sign or text.endswith("-")) or (sign and not re.fullmatch(form, value)):
        raise UsageError(f"{text!r} is no KEY=VALUE, nor KEY- to take one away",
                         remedy="letters, digits, and - _ . between them")
    return key, value if sign else None
