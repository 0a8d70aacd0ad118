"""up, down, status, doctor: the cluster as a whole."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from arint.errors import ArintError
from arintctl import layout, options
from arintctl.output import Column, Table, aligned, columned, write
from arintctl.session import Session
from arintctl.text import Moment, clock, lasting, octets_text, printable
from arintctl.verb import commands, verb

if TYPE_CHECKING:
    from arint.operations.agent import InstanceStatus
    from arint.operations.standing import Standing
    from arint.operations.up import UpResult

app = commands()


@verb(app, "up", example="arintctl up --home ./home")
def up(session: Session, *,
       cluster: Annotated[str, typer.Option(help="The cluster's name, for a new home.")] = "local",
       node: Annotated[str, typer.Option(help="The node's name, for a new home (default: this machine's).")] = "",
       host: Annotated[str, typer.Option(help="The address to listen on, for a new home.")] = "127.0.0.1",
       http_port: Annotated[int, typer.Option(min=0, max=65535, show_default=False,
                                              help="The port of HTTP channels (default: as before; 8080 or a free "
                                                   "one).")] = 0,
       metrics_port: Annotated[int, typer.Option(min=0, max=65535, show_default=False,
                                                 help="The port of metrics, on the loopback (default: as before; 9464 "
                                                      "or a free one).")] = 0,
       otlp_endpoint: Annotated[str | None, typer.Option(metavar="URL",
                                                         help="The OTLP/HTTP collector that traces go to, such as "
                                                              "http://127.0.0.1:4318; '' for none (default: as "
                                                              "before, or $OTEL_EXPORTER_OTLP_ENDPOINT).")] = None,
       trace_ratio: Annotated[float | None, typer.Option(min=0, max=1, help="Of the traces that begin here, this part "
                                                                            "is sampled (default: as before; 1).",
                                                         )] = None,
       fsync: Annotated[bool, typer.Option(help="Sync to disk before saying yes, for a new home.")] = True,
       timeout: options.Timeout = "60s") -> None:
    """Start the cluster of this machine, and wait until a message passes through it.

    It is idempotent. A port that another program took meanwhile is replaced by a free one, which is told.
    """
    from arint.operations.up import UpArguments
    from arint.operations.up import up as operation
    from arintctl.contexts import ports_of_others, record

    arguments = UpArguments(cluster=cluster, node=node, host=host, http_port=http_port,
                            metrics_port=metrics_port, otlp_endpoint=otlp_endpoint, trace_ratio=trace_ratio,
                            otlp_default=os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""), fsync=fsync,
                            timeout=options.seconds_of(timeout), avoid=ports_of_others(session.home().path))
    result = session.run(lambda link, progress: operation(link, arguments, progress))
    record(session.home().path, session.settings.context or "")
    if session.is_data:
        session.data(result)
    elif session.form == "name":
        write(result.node)
    else:
        write(_told(result))


def _told(result: UpResult) -> str:
    state = "was running already" if result.already_running else "is up"
    lines = [["home", result.home], *([address.what, address.url] for address in result.addresses)]
    moved = "".join(f"\nmoved, since another program listens there: {one}" for one in result.moved)
    return (f"node {result.node} of cluster {result.cluster} {state}; a message passed through it "
            f"({lasting(result.took)})\n{columned(lines)}{moved}")


@verb(app, "down", example="arintctl down --purge --yes")
def down(session: Session, *,
         purge: Annotated[bool, typer.Option("--purge", help="Remove the home: messages, keys, all.")] = False,
         yes: options.Yes = False,
         grace: Annotated[str, typer.Option(metavar="DURATION", help="For messages under way.")] = "30s") -> None:
    """Stop everything that runs from this home; with --purge, remove it too."""
    from arint.operations.up import DownArguments
    from arint.operations.up import down as operation
    from arintctl.contexts import forget

    home = session.home()
    home.load()
    if purge and not yes:
        options.confirm(f"remove {home.path} with all messages, configuration and keys?")
    arguments = DownArguments(purge=purge, grace=options.seconds_of(grace))
    result = session.run(lambda link, progress: operation(link, arguments, progress))
    if purge:
        forget(home.path)
    if session.is_data:
        session.data(result)
    elif session.form == "name":
        write("\n".join(result.stopped))
    else:
        what = f"stopped {', '.join(result.stopped)}" if result.stopped else "nothing was running"
        write(f"{what}; {result.home} removed" if purge else what)


@verb(app, "status", example="arintctl status -o wide")
def status(session: Session) -> None:
    """Show the nodes, their engines, and every instance."""
    from arint.operations.standing import standing

    found = session.run(lambda link, _: standing(link))
    if session.is_data:
        session.data(found)
    elif session.form == "name":
        write("\n".join(instance.instance for instance in found.instances))
    else:
        write(_status_text(found, session))


def _status_text(found: Standing, session: Session) -> str:
    wide, width = session.form == "wide", layout.width()
    many = len(found.nodes) > 1
    parts = [aligned(found.nodes, NODES, wide=wide, width=width)]
    if found.engines:
        parts.append(aligned(found.engines, ENGINES_OF_NODES if many else ENGINES, wide=wide, width=width))
    if found.instances:
        parts.append(aligned(found.instances, INSTANCES, wide=wide, width=width))
    metrics = [["metrics", one.metrics, *([one.node] if many else [])] for one in found.nodes if one.metrics]
    if metrics:
        parts.append(columned(metrics))
    parts += [f"{one.node}: {printable(one.error, multiline=True)}" if many else printable(one.error, multiline=True)
              for one in found.nodes if one.error]
    parts += [f"{item.instance}: {printable(item.error, multiline=True)}" for item in found.instances if item.error]
    parts += last_ends(found.instances)
    return "\n\n".join(parts)


def last_ends(instances: Iterable[InstanceStatus]) -> list[str]:
    """Why instances that serve again had to be started again."""
    return [f"{item.instance}: restarts {item.restarts}, the last at {clock(item.ended)}: {printable(item.last_end)}"
            for item in instances if item.last_end and not item.error]


NODES = Table((
    Column("NODE", lambda one: one.node),
    Column("STATE", lambda one: one.state),
    Column("VERSION", lambda one: one.version),
    Column("CHANGE SET", lambda one: one.change_set or ""),
    Column("SINCE", lambda one: Moment(one.started) if one.started else ""),
    Column("MEMORY", lambda one: octets_text(one.memory) if one.memory else ""),
), name=lambda one: str(one.node))

_ENGINES = (
    Column("ENGINE", lambda engine: engine.name),
    Column("STATE", lambda engine: "ready" if engine.ready else "not ready"),
    Column("VERSION", lambda engine: engine.version),
    Column("PID", lambda engine: engine.pid),
    Column("RESTARTS", lambda engine: engine.restarts),
    Column("MEMORY", lambda engine: octets_text(engine.memory)),
    Column("ERROR", lambda engine: engine.error.splitlines()[-1] if engine.error else "", wide=True),
)
ENGINES = Table(_ENGINES, name=lambda engine: engine.name)
ENGINES_OF_NODES = Table((*_ENGINES[:1], Column("NODE", lambda engine: engine.node), *_ENGINES[1:]),
                         name=lambda engine: engine.name)

INSTANCES = Table((
    Column("INSTANCE", lambda item: item.instance),
    Column("SERVICE", lambda item: item.service, roomy=True),
    Column("STATE", lambda item: item.state),
    Column("SET", lambda item: item.change_set or "", roomy=True),
    Column("ACCEPTED", lambda item: item.accepted),
    Column("PROCESSED", lambda item: item.processed),
    Column("FAILED", lambda item: item.failed),
    Column("DIED", lambda item: item.dead),
    Column("IN FLIGHT", lambda item: item.in_flight, roomy=True),
    Column("AWAY", lambda item: ", ".join(item.circuits)),
    Column("NODE", lambda item: item.node, wide=True),
    Column("PID", lambda item: item.pid, wide=True),
    Column("RESTARTS", lambda item: item.restarts, wide=True),
    Column("MEMORY", lambda item: octets_text(item.memory), wide=True),
), name=lambda item: item.instance)


@verb(app, "doctor", example="arintctl doctor")
def doctor(session: Session) -> None:
    """Check everything that can be checked, and say what to do about it.

    The exit code is 1 if any check failed; warnings leave it at 0.
    """
    from arint.operations.doctor import examine

    session.home()  # what it looks at lies there
    checks = session.run(examine)
    session.rows(checks, CHECKS)
    failed = [check.name for check in checks if check.state == "failed"]
    if failed:
        raise ArintError(f"failed: {', '.join(failed)}", remedy="the table says what to do")


CHECKS = Table((
    Column("CHECK", lambda check: check.name),
    Column("STATE", lambda check: check.state),
    Column("FOUND", lambda check: check.found, long=True),
    Column("WHAT TO DO", lambda check: check.remedy, long=True),
), name=lambda check: check.name)
