"""node request, admit, join, forget: a machine becomes a node of a cluster that runs, and leaves it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer

from arint.errors import NotValidError
from arintctl import options
from arintctl.commands.node import Name, app
from arintctl.output import write
from arintctl.session import Session
from arintctl.text import lasting
from arintctl.verb import verb

T = TypeVar("T")
_LARGEST = 2**20
Document = Annotated[Path, typer.Option("--document", metavar="FILE | -", help="The document; - is standard input.")]


@verb(app, "request", example="arintctl node request --cluster local --node n2 --address 192.0.2.12 > n2.request")
def request(session: Session, *,
            cluster: Annotated[str, typer.Option(help="The cluster to join.")] = "",
            node: Annotated[str, typer.Option(help="The node's name.")] = "",
            address: Annotated[str, typer.Option(help="Where the other nodes reach it.")] = "",
            label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help=(
                "A label; may be repeated."))] = None,
            document: Annotated[Path | None, typer.Option("--document", metavar="FILE | -", help=(
                "All of this as JSON, instead of the options."))] = None) -> None:
    """On a new machine: make its keys, and print what a server of the cluster has to admit."""
    from arint.operations.membership import Asked
    from arint.operations.membership import request as operation

    if document is not None:
        asked = _read(document, Asked)
    else:
        asked = Asked(cluster=cluster, node=node, host=address, labels=dict(map(_label, label or ())))
    write(msgspec.json.encode(operation(session.home(), asked)).decode())


@verb(app, "admit", example="arintctl node admit --document n2.request > n2.join")
def admit(session: Session, *, document: Document = Path("-")) -> None:
    """On a server: record the node of a request, sign for it, and print what it joins with.

    What is printed holds the key ring of the cluster's secrets: send it over SSH, and remove it afterwards.
    """
    from arint.operations.membership import JoinRequest
    from arint.operations.membership import admit as operation

    wanted = _read(document, JoinRequest)
    write(msgspec.json.encode(session.run(lambda link, _: operation(link, wanted))).decode())


@verb(app, "join", example="arintctl node join --document n2.join && arintctl up")
def join(session: Session, *, document: Document = Path("-")) -> None:
    """On the new machine: become the node of the document; arintctl up then starts it."""
    from arint.operations.membership import JoinDocument
    from arint.operations.membership import join as operation

    joined = operation(session.home(), _read(document, JoinDocument))
    if session.is_data:
        session.data(joined)
    else:
        write(f"this home is node {joined.node} of cluster {joined.cluster}"
              f"{'' if joined.changed else ' already'}; arintctl up starts it")


@verb(app, "ready", example="arintctl node ready --timeout 30s")
def ready(session: Session, *, timeout: options.Timeout = "30s") -> None:
    """Wait until the node of this home is ready, and prove it: a message passes through the bus as this node sends it.
    """
    from arint.operations.readiness import wait_ready

    seconds = options.seconds_of(timeout)
    found = session.run(lambda link, progress: wait_ready(link, seconds, progress))
    if session.is_data:
        session.data(found)
    else:
        write(f"node {found.node} of cluster {found.cluster} is ready; a message passed through it "
              f"({lasting(found.took)})")


@verb(app, "forget", example="arintctl node forget n2")
def forget(session: Session, name: Name, *, yes: options.Yes = False) -> None:
    """Remove a node that is gone for good from the cluster's records."""
    from arint.operations.membership import forget as operation

    if not yes:
        options.confirm(f"forget the node {name}?")
    session.run(lambda link, _: operation(link, name))
    write(f"node {name} is forgotten")


def _read(file: Path, kind: type[T]) -> T:
    where = "standard input" if file == Path("-") else str(file)
    try:
        if file == Path("-"):
            data = sys.stdin.buffer.read(_LARGEST + 1)
        else:
            with file.open("rb") as stream:
                data = stream.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise NotValidError(f"the document is larger than {_LARGEST} bytes", where=where)
        return msgspec.json.decode(data, type=kind)
    except OSError as error:
        raise NotValidError(f"the document cannot be read: {error.strerror}", where=where) from None
    except msgspec.MsgspecError as error:
        raise NotValidError(f"this is not the document that is needed here: {error}", where=where,
                            remedy="node request makes one for admit, and admit one for join") from None


def _label(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key or not value:
        raise NotValidError(f"{text!r} is no KEY=VALUE", where="--label")
    return key, value


__all__ = ["app"]
