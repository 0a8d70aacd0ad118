"""logs, events, why: what happens, and what happened."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from arint.actions import Outcome
from arint.errors import UsageError
from arintctl import layout
from arintctl.completion import complete_flow, complete_instance, complete_message
from arintctl.output import Column, Table, complete, write
from arintctl.session import Session
from arintctl.text import Moment, clock, clock_today, last_line, printable
from arintctl.verb import commands, verb

if TYPE_CHECKING:
    from arint.actions import Action
    from arint.operations.connect import Link
    from arint.operations.events import EventFilter
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
         lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the last lines.")] = 100,
         node: Annotated[str, typer.Option("--node", help="Only what runs on this node.")] = "") -> None:
    """Show what instances print, on any node.

    Without a name: of all instances. With several, each line begins with the instance's name. `nats@NODE` is that
    node's.
    """
    from arint.operations.logs import LogArguments, read

    arguments = LogArguments(names=tuple(names or ()), follow=follow, lines=lines, node=node)
    anything: set[str] = set()

    async def whole(link: Link, _: Progress) -> None:
        async for line in read(link, arguments):
            anything.add(line.instance)
            if session.is_data:
                _json_line(line)
            elif session.form == "name":
                write(line.instance)
            else:
                name = f"{line.instance:<{line.widest}}  " if line.is_one_of_several else ""
                write(f"{name}{printable(line.line, multiline=True)}\n")
            _flush()

    session.run(whole)
    if not anything and not session.is_data:
        sys.stderr.write("nothing was printed yet\n")


def _error(record: Action) -> str:
    """What was raised, and by which line of the service's code."""
    return f"{last_line(record.error)} ({record.error_at})" if record.error_at else last_line(record.error)


EVENTS = Table((
    Column("WHEN", lambda row: Moment(row.at + row.took)),
    Column("OUTCOME", lambda row: row.outcome),
    Column("MESSAGE", lambda row: row.message),
    Column("STAGE", lambda row: f"{row.flow}.{row.stage}"),
    Column("ATTEMPT", lambda row: row.attempt, roomy=True),
    Column("INSTANCE", lambda row: row.instance, roomy=True),
    Column("NODE", lambda row: row.node, wide=True),
    Column("SET", lambda row: row.change_set or "", wide=True),
    Column("ERROR", _error, long=True),
), name=lambda row: str(row.message), empty="no events yet")


@verb(app, "events", example="arintctl events -f --flow orders")
def events(session: Session, *, follow: Follow = False,
           flow: Annotated[str, typer.Option(help="Only of this flow.", autocompletion=complete_flow)] = "",
           outcome: Annotated[Outcome | None, typer.Option(help="Only what ended so.")] = None,
           limit: Annotated[int, typer.Option("-n", "--limit", min=0, max=10_000, help="How many past ones.")] = 50,
           ) -> None:
    """Show what became of messages, as it happens.

    One line for each attempt of each stage. With `-o json` and --follow: a JSON object a line.
    """
    from arint.operations.events import EventFilter, past

    wanted = EventFilter(flow=flow, outcome=outcome or "", limit=limit)
    if not follow:
        session.rows(session.run(lambda link, _: past(link, wanted)), EVENTS,
                     empty="no event fits" if flow or outcome else "")
        return
    session.run(lambda link, _: _follow(session, link, wanted))


async def _follow(session: Session, link: Link, wanted: EventFilter) -> None:
    from arint.operations.events import past, present

    for record in await past(link, wanted):
        _event(session, record)
    async for record in present(link, wanted):
        _event(session, record)


def _event(session: Session, record: Action) -> None:
    if session.is_data:
        _json_line(record)
    elif session.form == "name":
        write(record.message)
    else:
        write(_event_line(record, layout.width(), wide=session.form == "wide"))
    _flush()


def _event_line(record: Action, width: int | None, *, wide: bool) -> str:
    """Like a row of the table, with columns that are fixed, since the rows to come are not known."""
    at = record.at + record.took
    when = clock(at) if wide or width is None else clock_today(at)
    main = f"{when}  {record.outcome:<8}  {record.message}  {record.flow}.{record.stage}"
    more = "  ".join([f"#{record.attempt}", record.instance, *([_error(record)] if record.error else [])])
    whole = printable(f"{main}  {more}")
    if wide or width is None or len(whole) <= width:
        return whole
    return printable(main) + (f"\n{layout.wrapped(printable(more), width, '    ', '    ')}" if record.error else "")


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
    write(story_text(story, layout.width()))
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
            write(f"\n{story_text(now, layout.width())}")
            _flush()
        story = now


def _json_line(value: object) -> None:
    import msgspec

    write(msgspec.json.encode(complete(value)).decode())


def _flush() -> None:
    sys.stdout.flush()
