"""dev: apply on save, and see what it does."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arint.errors import NotFoundError, UnreachableError
from arintctl import options
from arintctl.session import Session
from arintctl.verb import commands, verb

if TYPE_CHECKING:
    from arint.operations.connect import Link
    from arint.operations.progress import Progress

app = commands()


@verb(app, "dev", example="arintctl dev examples/orders")
def dev(session: Session,
        folder: Annotated[Path, typer.Argument(help="Manifests and their code.", show_default=False)], *,
        start: Annotated[bool, typer.Option("--up", help="Start the cluster if it does not run.")] = False,
        prune: Annotated[bool, typer.Option("--prune", help="Remove what the folder does not hold.")] = False,
        wheelhouse: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Wheels of what services require; "
                                                        "nothing else is asked ($ARINT_WHEELHOUSE).")] = None,
        timeout: options.Timeout = "60s") -> None:
    """Apply a folder on every save, and show what its services print and what becomes of messages.

    Only what changed is applied; what has a mistake is not, and the version before goes on. Ctrl-C ends it, and leaves
    everything as it was applied last. With `-o json`: a JSON object a line.
    """
    from arint.operations.developing import DevArguments, develop
    from arintctl.stream import Stream

    if not folder.is_dir():
        raise NotFoundError("there is no such folder", where=str(folder), remedy="name the folder of the manifests")
    arguments = DevArguments(folder=folder.absolute(), prune=prune, wheelhouse=wheelhouse,
                             timeout=options.seconds_of(timeout))
    stream = Stream(sys.stdout, form=session.form, coloured=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))

    async def whole(link: Link, _: Progress) -> None:
        await develop(link, arguments, stream.tell)

    _make_sure_it_runs(session, start=start)
    try:
        session.run(whole)
    except KeyboardInterrupt:
        stream.end()


def _make_sure_it_runs(session: Session, *, start: bool) -> None:
    """Start the cluster where that is wanted. Raises UnreachableError where it is not, and none runs."""
    from arint.operations.agent import LocalAgent

    home = session.home()
    if asyncio.run(LocalAgent(home).answers()):
        return
    if not start and sys.stdin.isatty() and sys.stderr.isatty():
        start = typer.confirm(f"no cluster runs from {home.path}; start it?", default=True, err=True)
    if not start:
        raise UnreachableError("the cluster of this home does not run", where=str(home.path),
                               remedy="arintctl up, or: arintctl dev --up FOLDER")
    from arint.operations.up import UpArguments
    from arint.operations.up import up as operation
    from arintctl.contexts import ports_of_others, record

    arguments = UpArguments(avoid=ports_of_others(home.path))
    session.run(lambda link, progress: operation(link, arguments, progress))
    record(home.path, session.settings.context or "")
