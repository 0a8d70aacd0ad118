"""Text for a terminal: the command line and the console write it alike."""

from __future__ import annotations

import time

from arint.text import clock, lasting, octets_text, printable

__all__ = ["Moment", "clock", "clock_today", "last_line", "lasting", "octets_text", "printable"]


class Moment(float):
    """Seconds since the epoch, in a cell of a table: written in full, or briefly on a terminal."""


def last_line(error: str) -> str:
    """The line of an error that says most: the last of a traceback."""
    return next((line.strip() for line in reversed(error.splitlines()) if line.strip()), "")


def clock_today(at: float) -> str:
    """A moment in UTC for a reader of now: today by the time alone, else by date and minute; empty for 0."""
    whole = clock(at)
    today = clock(time.time())
    if whole[:10] == today[:10]:
        return whole[11:]
    return f"{whole[:10]} {whole[11:16]}Z" if whole else ""
