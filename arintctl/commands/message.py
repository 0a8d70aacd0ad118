"""Messages: list, show, record and replay them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from arint.errors import ArintError, ConflictError
from arintctl import layout, options
from arintctl.completion import complete_flow, complete_message
from arintctl.output import Column, Table, write
from arintctl.session import Session
from arintctl.text import Moment, clock, last_line, lasting, octets_text, printable
from arintctl.verb import commands, verb

if TYPE_CHECKING:
    from arint.operations.connect import Link
    from arint.operations.messages import MessageDetail, ReplayResult
    from arint.operations.progress import Progress

app = commands()
Id = Annotated[str, typer.Argument(metavar="MESSAGE", help="The message's id.", autocompletion=complete_message)]
OnlyBody = Annotated[bool, typer.Option("--body", help="Write the body alone, all of it, as it is.")]
Stage = Annotated[str, typer.Option("--stage", help="A stage of the flow; default: where it came in.")]

State = Literal["processing", "paused", "done", "dead"]

MESSAGES = Table((
    Column("MESSAGE", lambda row: row.id),
    Column("WHEN", lambda row: Moment(row.at)),
    Column("STATE", lambda row: row.state),
    Column("CHANNEL", lambda row: row.channel),
    Column("FLOW", lambda row: row.flow, roomy=True),
    Column("STAGE", lambda row: row.stage, roomy=True),
    Column("TOOK", lambda row: lasting(row.ended - row.at) if row.ended else ""),
    Column("ATTEMPTS", lambda row: row.attempts, wide=True),
    Column("SIZE", lambda row: octets_text(row.size), wide=True),
    Column("ERROR", lambda row: last_line(row.error), long=True),
), name=lambda row: str(row.id), empty="no messages yet")


@verb(app, "list", example="arintctl message list --state dead --since 1h")
def list_(session: Session, *,
          flow: Annotated[str, typer.Option(help="Only of this flow.", autocompletion=complete_flow)] = "",
          channel: Annotated[str, typer.Option(help="Only those that came in there.")] = "",
          state: Annotated[State | None, typer.Option(help="Only those that stand so.")] = None,
          since: Annotated[str, typer.Option(metavar="DURATION", help="Only those of the last 10m, 1h, 2d.")] = "",
          limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=10_000, help="How many at most.")] = 20,
          ) -> None:
    """List the newest messages and how they stand."""
    import time

    from arint.operations.messages import ListArguments, list_messages

    begun = time.time() - options.seconds_of(since) if since else 0.0
    arguments = ListArguments(flow=flow, channel=channel, state=state or "", since=begun, limit=limit)
    session.rows(session.run(lambda link, _: list_messages(link, arguments)), MESSAGES,
                 empty="no message fits" if flow or channel or state or since else "")


@verb(app, "show", example="arintctl message show 01JD0W7Y3F0S8Q6Z4K2M5N7P9R")
def show(session: Session, message: Id, *, stage: Stage = "", body: OnlyBody = False) -> None:
    """Show a message: its headers and body as it came in, or as it entered a stage.

    Of a body over 512 KiB the beginning is shown; --body writes all of any body.
    """
    from arint.operations.messages import body_of, show_message

    if body:
        write_raw(session.run(lambda link, _: body_of(link, message, stage=stage)))
        return
    found = session.run(lambda link, _: show_message(link, message, stage=stage))
    if session.is_data:
        session.data(found)
    elif session.form == "name":
        write(found.id)
    else:
        write(_shown(found))


def _shown(found: MessageDetail) -> str:
    pairs = [("message", found.id), ("state", found.state), ("place", f"{found.flow}.{found.stage}, run {found.run}"),
             ("created", clock(found.created)), ("channel", found.channel), ("caller", found.caller),
             ("cause", found.cause), ("correlation id", found.correlation_id), ("traceparent", found.traceparent),
             ("content type", found.content_type), ("size", octets_text(found.size)),
             ("stages", " ".join(found.stages))]
    pairs += [(f"header {name}", value) for name, value in found.headers.items()]
    pairs += [(f"variable {name}", str(value)) for name, value in found.variables.items()]
    return f"{facts_shown(pairs)}\n\n{body_shown(found.body, found.body_base64, found.shown)}"


def facts_shown(pairs: list[tuple[str, str]]) -> str:
    """What is known, a line each; nothing of what is empty."""
    return layout.facts([(name, printable(value)) for name, value in pairs if value], layout.width())


def body_shown(text: str | None, coded: str | None, shown: int = 0) -> str:
    """A body for the terminal; `shown` bytes, where there are more."""
    more = f"\n(the first {octets_text(shown)}; --body gives all of it)" if shown else ""
    if text is not None:
        return printable(text, multiline=True) + more
    return f"(not UTF-8; in base 64)\n{coded}{more}" if coded is not None else "(the body is not there any more)"


def write_raw(body: bytes) -> None:
    """A body as it is, byte for byte, for a pipe or a file."""
    import sys

    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()


@verb(app, "record", example="arintctl message record 01JD0W7Y3F0S8Q6Z4K2M5N7P9R samples/late.expected.yaml")
def record(session: Session, message: Id,
           file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where to write it; stdout.")] = None, *,
           force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False) -> None:
    """Write a message and what became of it as a recording, to be replayed in tests.

    What stands under names that tell of secrets is masked. Replay it with flow test --check, or check_recording.
    """
    from arint.operations.recordings import record_message

    if file is not None and file.exists() and not force:
        raise ConflictError("the file is there already", where=str(file), remedy="name another, or add --force")
    found = session.run(lambda link, _: record_message(link, message))
    if file is not None:
        found.save(file)
        write(str(file))
    elif session.form == "json":
        session.data(found)
    else:
        from arint.testing.compare import as_yaml

        write(as_yaml(found))


@verb(app, "replay", example="arintctl message replay 01JD0W7Y3F0S8Q6Z4K2M5N7P9R --stage 3-call-price")
def replay(session: Session, message: Id, *, stage: Stage = "", wait: options.Wait = True,
           timeout: options.Timeout = "30s") -> None:
    """Run a message again from where it came in, or from a stage; its ids stay, its run number grows."""
    from arint.operations.messages import replay_message, settled

    within = options.seconds_of(timeout)

    async def whole(link: Link, progress: Progress) -> ReplayResult:
        result = await replay_message(link, message, stage=stage, progress=progress)
        return await settled(link, result, timeout=within, progress=progress) if wait else result

    show_replays(session, [session.run(whole)])


REPLAYS = Table((
    Column("MESSAGE", lambda row: row.id),
    Column("RUN", lambda row: row.run),
    Column("FLOW", lambda row: row.flow),
    Column("STAGE", lambda row: row.stage, roomy=True),
    Column("STATE", lambda row: row.state),
    Column("ERROR", lambda row: last_line(row.error), long=True),
), name=lambda row: str(row.id), empty="nothing to replay")


def show_replays(session: Session, results: list[ReplayResult]) -> None:
    """What was run again, and what became of it. Raises ArintError where one died again."""
    session.rows(results, REPLAYS)
    died = [result.id for result in results if result.state == "dead"]
    if died:
        raise ArintError(f"{len(died)} died again" if len(results) > 1 else "it died again",
                         remedy=f"arintctl dlq show {died[0]}")
