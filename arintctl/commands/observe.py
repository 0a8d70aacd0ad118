"""logs, events, why: what happens, and what happened."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from arint.errors import UsageError
from arintctl.completion import complete_flow, complete_instance, complete_message
from arintctl.output import Column, Table, write
from arintctl.session import Session
from arintctl.text import Moment, clock, last_line, printable
from arintctl.verb import commands, verb

if TYPE_CHECKING:
    from arint.actions import Action
    from arint.operations.connect import Link
    from arint.operations.progress import Progress
    from arint.operations.story import Story

app = commands()
_LOOK_AGAIN = 0.5
"""Seconds between two looks at a message that is under way."""
Follow = Annotated[bool, typer.Option("-f", "--follow", help="Go on until interrupted.")]


@verb(app, "logs", example="arintctl logs price -f")
def logs(session: Session,
         names: Annotated[list[str] | None, typer.Argument(metavar="INSTANCE | SERVICE | agent | etcd | nats",
                                                           autocompletion=complete_instance)] = None, *,
         follow: Follow = False,
         lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the last lines.")] = 100) -> None:
    """Show what instances print.

    Without a name: of all instances. With several, each line begins with the instance's name.
    """
    from arint.operations.logs import LogArguments, read

    arguments = LogArguments(names=tuple(names or ()), follow=follow, lines=lines)

    async def whole(link: Link, _: Progress) -> None:
        async for line in read(link, arguments):
            if session.is_data:
                _json_line(line)
            else:
                name = f"{line.instance}  " if line.is_one_of_several else ""
                write(f"{name}{printable(line.line, multiline=True)}\n")
            _flush()

    session.run(whole)


EVENTS = Table((
    Column("WHEN", lambda row: Moment(row.at + row.took)),
    Column("OUTCOME", lambda row: row.outcome),
    Column("MESSAGE", lambda row: row.message),
    Column("STAGE", lambda row: f"{row.flow}.{row.stage}"),
    Column("ATTEMPT", lambda row: row.attempt, roomy=True),
    Column("INSTANCE", lambda row: row.instance, roomy=True),
    Column("NODE", lambda row: row.node, wide=True),
    Column("SET", lambda row: row.change_set or "", wide=True),
    Column("ERROR", lambda row: last_line(row.error), long=True),
), name=lambda row: str(row.message), empty="no events yet")


@verb(app, "events", example="arintctl events -f --flow orders")
def events(session: Session, *, follow: Follow = False,
           flow: Annotated[str, typer.Option(help="Only of this flow.", autocompletion=complete_flow)] = "",
           outcome: Annotated[str, typer.Option(help="Only failed, dead, done, …")] = "",
           limit: Annotated[int, typer.Option("-n", "--limit", min=0, max=10_000, help="How many past ones.")] = 50,
           ) -> None:
    """Show what became of messages, as it happens.

    One line for each attempt of each stage. With `-o json` and --follow: a JSON object a line.
    """
    from arint.operations.events import EventFilter, past

    wanted = EventFilter(flow=flow, outcome=outcome, limit=limit)
    if not follow:
        session.rows(session.run(lambda link, _: past(link, wanted)), EVENTS)
        return
    session.run(lambda link, _: _follow(session, link, flow, outcome, limit))


async def _follow(session: Session, link: Link, flow: str, outcome: str, limit: int) -> None:
    from arint.operations.events import EventFilter, past, present

    wanted = EventFilter(flow=flow, outcome=outcome, limit=limit)
    for record in await past(link, wanted):
        _event(session, record)
    async for record in present(link, wanted):
        _event(session, record)


def _event(session: Session, record: Action) -> None:
    if session.is_data:
        _json_line(record)
    else:
        error = f"  {record.error.splitlines()[0]}" if record.error else ""
        write(printable(f"{clock(record.at)}  {record.outcome:<9} {record.message}  {record.flow}.{record.stage}"
                        f"  #{record.attempt}  {record.instance}{error}") + "\n")
    _flush()


@verb(app, "why", example="arintctl why 01JD0W7Y3F0S8Q6Z4K2M5N7P9R")
def why(session: Session,
        message: Annotated[str, typer.Argument(metavar="MESSAGE", autocompletion=complete_message)], *,
        follow: Annotated[bool, typer.Option("-f", "--follow", help="Until nothing of it is under way.")] = False,
        ) -> None:
    """Tell the story of a message: every hop, attempt and error.

    With time, node, instance, attempt, and the change set it met.
    """
    from arint.operations.messages import story_of
    from arintctl.tree import story_text

    if follow and session.is_data:
        raise UsageError("--follow is for people", remedy="leave out -o")
    story = session.run(lambda link, _: story_of(link, message))
    if session.is_data:
        session.data(story)
        return
    if session.form == "name":
        write(story.id)
        return
    write(story_text(story))
    if follow and story.state in ("processing", "paused"):
        session.run(lambda link, _: _until_settled(link, story))


async def _until_settled(link: Link, story: Story) -> None:
    """Show the story again whenever it went on."""
    from arint.operations.messages import story_of
    from arintctl.tree import story_text

    while story.state in ("processing", "paused"):
        await asyncio.sleep(_LOOK_AGAIN)
        now = await story_of(link, story.id)
        if now != story:
            write(f"\n{story_text(now)}")
            _flush()
        story = now


def _json_line(value: object) -> None:
    import msgspec

    write(msgspec.json.encode(value).decode())


def _flush() -> None:
    import sys

    sys.stdout.flush()
