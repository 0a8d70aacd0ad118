"""What `dev` tells, as one stream of lines: when, what sort, and the rest; coloured where somebody looks."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from typing import TextIO

import msgspec

from arint.actions import Action
from arint.operations import developing as dev
from arintctl import layout
from arintctl.options import Format
from arintctl.output import complete
from arintctl.text import last_line, lasting, octets_text, printable

_SIGNS = {"added": "+", "changed": "~", "removed": "-"}
_COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36", "grey": "90"}
_OF_OUTCOME = {"done": "green", "accepted": "blue", "failed": "yellow", "deferred": "yellow", "suspected": "yellow",
               "caught": "yellow", "dead": "red", "dropped": "red"}
_OF_INSTANCES = ("cyan", "magenta", "blue", "yellow")
_SORT = 8
"""Characters of the second column: as long as the longest outcome."""
_LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?:INFO )?")
"""How a logged line begins: the time stands there already, and the usual level says nothing."""
Line = tuple[str, str, str]
"""What sort of line it is (or who printed it), its colour, its text."""


class Stream:
    """Writes each event to `out` as it comes."""

    def __init__(self, out: TextIO, *, form: Format = "table", coloured: bool = False) -> None:
        self._out = out
        self._form = form
        self._coloured = coloured
        self._instances: dict[str, str] = {}

    def tell(self, event: dev.Event) -> None:
        """One event: a line, or a few."""
        if self._form in ("json", "yaml"):
            tag = type(event).__struct_config__.tag
            line = msgspec.json.encode({"event": tag, "at": time.time(), **complete(event)}).decode()
            self._out.write(f"{line}\n")
        else:
            for sort, colour, text in self._told(event):
                self._line(sort, colour, text)
        self._out.flush()

    def end(self) -> None:
        """The loop is over."""
        if self._form not in ("json", "yaml"):
            self._out.write("\nno longer watched; what was applied stays\n")
            self._out.flush()

    def _told(self, event: dev.Event) -> Iterator[Line]:
        match event:
            case dev.Printed(instance, line):
                yield instance, self._colour_of(instance), _LOGGED.sub("", line, count=1)
            case dev.Passed(record):
                yield record.outcome, _OF_OUTCOME.get(record.outcome, "blue"), _record(record)
            case _:
                yield from _of_change(event)

    def _colour_of(self, instance: str) -> str:
        return self._instances.setdefault(instance, _OF_INSTANCES[len(self._instances) % len(_OF_INSTANCES)])

    def _line(self, sort: str, colour: str, text: str) -> None:
        when = time.strftime("%H:%M:%S")
        lead = f"{when}  {sort:<{_SORT}}  "
        whole = layout.wrapped(printable(text), layout.width(), lead, " " * min(len(lead), len(when) + _SORT + 4))
        if self._coloured:
            rest = whole[len(lead):]
            if colour == "red":
                rest = self._paint(rest, colour)
            whole = f"{self._paint(when, 'grey')}  {self._paint(f'{sort:<{_SORT}}', colour)}  {rest}"
        self._out.write(f"{whole}\n")

    @staticmethod
    def _paint(text: str, colour: str) -> str:
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def _of_change(event: dev.Event) -> Iterator[Line]:
    """What is told from a save to the version that serves."""
    match event:
        case dev.Watching(folder):
            yield "watching", "blue", f"{folder}; Ctrl-C ends it, and leaves everything as it is applied"
        case dev.Saved(files):
            yield "saved", "grey", ", ".join(files[:5]) + (f" and {len(files) - 5} more" if files[5:] else "")
        case dev.Changed():
            yield "applied", "blue", f"{_changes(event)} (change set {event.change_set}, {lasting(event.took)})"
        case dev.Reachable(addresses):
            yield from (("channel", "blue", f"{address.channel}: {address.command}") for address in addresses)
        case dev.Serving():
            yield "serving", "green", f"change set {event.change_set}, {lasting(event.took)} after the save"
        case dev.Refused(problems):
            yield from _errors(problems, "nothing was applied; what ran before goes on")
        case dev.Broken(error=error):
            yield from _errors(error.splitlines(), "it takes no message; the version before goes on")


def _errors(lines: Iterable[str], what_follows: str) -> Iterator[Line]:
    yield from (("error", "red", line) for line in lines)
    yield "error", "red", what_follows


def _changes(event: dev.Changed) -> str:
    return " ".join(f"{_SIGNS[change.action]}{change.kind.lower()}/{change.name}" for change in event.changes)


def _record(record: Action) -> str:
    """`01J… orders.2-send-warehouse 12ms`, and where it did not go well, why."""
    where = f"channel {record.channel}" if record.outcome == "accepted" else f"{record.flow}.{record.stage}"
    attempt = f" #{record.attempt}" if record.attempt > 1 else ""
    size = f", {octets_text(record.size)}" if record.outcome == "accepted" else f" {lasting(record.took)}"
    error = ""
    if record.error:
        place = f" at {record.error_at}" if record.error_at else ""
        error = f"  {record.error_kind + ': ' if record.error_kind else ''}{last_line(record.error)}{place}"
    return f"{record.message} {where}{attempt}{size}{error}"
