"""Dead letters: list, show, edit, replay and drop them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arint.errors import ArintError, NotFoundError, UsageError
from arintctl import options
from arintctl.commands.message import OnlyBody, body_shown, facts_shown, show_replays, write_raw
from arintctl.completion import complete_dead, complete_flow
from arintctl.output import Column, Table, write
from arintctl.session import Session
from arintctl.text import Moment, clock, last_line, octets_text, printable
from arintctl.verb import commands, verb

if TYPE_CHECKING:
    from arint.operations.connect import Link
    from arint.operations.dead import DeadDetail, DeadSummary
    from arint.operations.messages import ReplayResult
    from arint.operations.progress import Progress

app = commands()
Id = Annotated[str, typer.Argument(metavar="MESSAGE", help="The message's id.", autocompletion=complete_dead)]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[MESSAGE]...", autocompletion=complete_dead)]
OfFlow = Annotated[str, typer.Option("--flow", help="Only of this flow.", autocompletion=complete_flow)]
All = Annotated[bool, typer.Option("--all", help="All there are (of the flow).")]
MOST = 10_000



def _error(row: DeadSummary) -> str:
    """Why it died; of one that was edited since, that it is to be replayed first of all."""
    error = last_line(row.error)
    return f"edited {clock(row.edited)}, not replayed yet; it died of: {error}" if row.edited else error


LETTERS = Table((
    Column("MESSAGE", lambda row: row.message),
    Column("DIED", lambda row: Moment(row.at)),
    Column("STAGE", lambda row: f"{row.flow}.{row.stage}"),
    Column("RUN", lambda row: row.run, wide=True),
    Column("CHANNEL", lambda row: row.channel, wide=True),
    Column("SIZE", lambda row: octets_text(row.size), wide=True),
    Column("KIND", lambda row: row.kind),
    Column("ERROR", _error, long=True),
), name=lambda row: str(row.message), empty="no dead letters")


@verb(app, "list", example="arintctl dlq list --flow orders")
def list_(session: Session, *, flow: OfFlow = "",
          limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=MOST, help="How many at most.")] = 50) -> None:
    """List the newest dead letters."""
    from arint.operations.dead import DeadFilter, list_dead

    wanted = DeadFilter(flow=flow, limit=limit)
    session.rows(session.run(lambda link, _: list_dead(link, wanted)), LETTERS)


@verb(app, "show", example="arintctl dlq show 01JD0W7Y3F0S8Q6Z4K2M5N7P9R")
def show(session: Session, message: Id, *, body: OnlyBody = False) -> None:
    """Show a dead letter: why it died, its headers and its body.

    Of a body over 512 KiB the beginning is shown; --body writes all of any body.
    """
    from arint.operations.dead import body_of_dead, show_dead

    if body:
        write_raw(session.run(lambda link, _: body_of_dead(link, message)))
        return
    found = session.run(lambda link, _: show_dead(link, message))
    if session.is_data:
        session.data(found)
    elif session.form == "name":
        write(found.letter.message)
    else:
        write(_shown(found))


def _shown(found: DeadDetail) -> str:
    letter = found.letter
    pairs = [("message", letter.message), ("died", clock(letter.at)), ("edited", clock(letter.edited)),
             ("place", f"{letter.flow}.{letter.stage}, run {letter.run}"), ("kind", letter.kind),
             ("error", letter.error), ("where", found.where), ("channel", letter.channel),
             ("correlation id", found.correlation_id), ("content type", found.content_type),
             ("size", octets_text(letter.size))]
    pairs += [(f"header {name}", value) for name, value in found.headers.items()]
    pairs += [(f"variable {name}", str(value)) for name, value in found.variables.items()]
    parts = [facts_shown(pairs)]
    if found.detail:
        parts.append(printable(found.detail.rstrip(), multiline=True))
    return "\n\n".join([*parts, body_shown(found.body, found.body_base64, found.shown)])


@verb(app, "edit", example="arintctl dlq edit 01JD0W7Y3F0S8Q6Z4K2M5N7P9R --body corrected.json")
def edit(session: Session, message: Id, *,
         body: Annotated[Path | None, typer.Option(help="A file with the new body; - for stdin.")] = None) -> None:
    """Give a dead letter another body: a file, or your $EDITOR.

    It stays dead until it is replayed.
    """
    from arint.operations.dead import edit_dead

    fresh = _read(body) if body is not None else _edited(session, message)
    session.rows([session.run(lambda link, _: edit_dead(link, message, fresh))], LETTERS)


def _read(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise NotFoundError(f"the body cannot be read: {error.strerror}", where=str(file)) from None


def _edited(session: Session, message: str) -> bytes:
    """The body as it comes back from the editor."""
    from arint.operations.dead import body_of_dead, show_dead

    if not sys.stdin.isatty():
        raise UsageError("there is no terminal for an editor", remedy="give the new body with --body FILE")
    found = session.run(lambda link, _: show_dead(link, message))
    try:
        old = session.run(lambda link, _: body_of_dead(link, message)).decode()
    except UnicodeDecodeError:
        raise UsageError("this body is not text", remedy="give the new one with --body FILE") from None
    text = _in_editor(old, ".json" if "json" in found.content_type else ".txt")
    if text == old:
        raise ArintError("not changed")
    return text.encode()


def _in_editor(text: str, suffix: str) -> str:
    """The text after $VISUAL or $EDITOR (or vi) ended."""
    import os
    import shlex
    import subprocess
    import tempfile

    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"body{suffix}"
        file.write_text(text, encoding="utf-8")
        if subprocess.run([*editor, str(file)], check=False).returncode:
            raise ArintError(f"the editor failed: {editor[0]}", remedy="set EDITOR, or use --body FILE")
        return file.read_text(encoding="utf-8")


@verb(app, "replay", example="arintctl dlq replay --all --flow orders")
def replay(session: Session, messages: Ids = None, *, everything: All = False, flow: OfFlow = "",
           wait: options.Wait = True, timeout: options.Timeout = "30s") -> None:
    """Run dead letters again at the stage where they died."""
    from arint.operations.dead import replay_dead
    from arint.operations.messages import settled

    within = options.seconds_of(timeout)
    chosen = _chosen(session, messages, everything, flow)

    async def whole(link: Link, progress: Progress) -> list[ReplayResult]:
        results = [await replay_dead(link, message, progress) for message in chosen]
        if not wait:
            return results
        return [await settled(link, result, timeout=within, progress=progress) for result in results]

    show_replays(session, session.run(whole))


@verb(app, "drop", example="arintctl dlq drop 01JD0W7Y3F0S8Q6Z4K2M5N7P9R")
def drop(session: Session, messages: Ids = None, *, everything: All = False, flow: OfFlow = "",
         yes: options.Yes = False) -> None:
    """Delete dead letters for good."""
    from arint.operations.dead import drop_dead

    chosen = _chosen(session, messages, everything, flow)
    if everything and not yes:
        if not sys.stdin.isatty():
            raise UsageError("a confirmation is needed", remedy="add --yes")
        if not typer.confirm(f"drop {len(chosen)} dead letters for good?", err=True):
            raise ArintError("not confirmed; nothing was changed")

    async def whole(link: Link, _: Progress) -> list[DeadSummary]:
        return [await drop_dead(link, message) for message in chosen]

    session.rows(session.run(whole), LETTERS)


def _chosen(session: Session, messages: list[str] | None, everything: bool, flow: str) -> list[str]:
    """Those named, or all (of a flow). Raises UsageError where it is not clear."""
    from arint.operations.dead import DeadFilter, list_dead

    if bool(messages) == everything:
        raise UsageError("name messages, or say --all", remedy="arintctl dlq list shows them")
    if messages:
        return messages
    found = session.run(lambda link, _: list_dead(link, DeadFilter(flow=flow, limit=MOST)))
    return [letter.message for letter in found]
