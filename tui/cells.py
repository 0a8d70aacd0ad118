"""From values to cells: short, plain text, with a colour that only repeats what the words say.

Names and errors come from outside: control characters are made visible, and nothing is read as markup, since every
cell is a `Text` and never a `str`.
"""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from arint.text import octets_text, printable

UNKNOWN = "-"
LONGEST = 400
"""Characters of a text that are shown; the whole stands in `arintctl logs` and `why`."""
_COLOURS = {**dict.fromkeys(("ready", "live"), "green"),
            **dict.fromkeys(("starting", "draining", "degraded"), "yellow"),
            **dict.fromkeys(("failed", "not ready", "stale", "away", "silent"), "bold red")}


def name(text: str, width: int) -> Text:
    """A name of at most `width` cells, cut in the middle: the end tells instances apart."""
    return _plain(shortened(printable(text[:LONGEST]), width))


def words(text: str, style: str = "") -> Text:
    """The last line of a text: there a traceback says what it is about."""
    last = text.strip().rpartition("\n")[2]
    return _plain(printable(last[:LONGEST]), style)


def state(word: str) -> Text:
    """A state in its colour."""
    return _plain(printable(word), _COLOURS.get(word, ""))


def number(value: int | None, style: str = "") -> Text:
    """A count; a dash where there is none to give."""
    return _right(f"{value:,}" if value is not None else UNKNOWN, style)


def ratio(ready: int, all_of_them: int) -> Text:
    """How many of how many."""
    return _right(f"{ready}/{all_of_them}", "" if ready == all_of_them else "yellow")


def alarm(value: int) -> Text:
    """A count that should be 0."""
    return _right(f"{value:,}", "bold red" if value else "dim")


def rate(value: float | None) -> Text:
    """Messages a second; a dash where it is not known yet."""
    return _right(per_second(value) if value is not None else UNKNOWN)


def memory(octets: int) -> Text:
    """A size."""
    return _right(octets_text(octets) if octets else UNKNOWN)


def process(pid: int) -> Text:
    """A process number; a dash where there is no process."""
    return _right(str(pid) if pid else UNKNOWN)


def since(started: float, now: float) -> Text:
    """For how long."""
    return _right(age(now - started) if started else UNKNOWN)


def drawn(line: str) -> Text:
    """A line of blocks."""
    return _plain(line, "cyan")


def per_second(value: float) -> str:
    """A rate in few characters: 0, 0.4, 12, 1,234."""
    if value <= 0:
        return "0"
    return f"{value:.1f}" if value < 9.95 else f"{value:,.0f}"


def age(seconds: float) -> str:
    """A duration in whole units: 3s, 12m, 5h, 9d. A clock that was set back gives 0s."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def shortened(text: str, width: int) -> str:
    """At most `width` cells, with an ellipsis in the middle."""
    if cell_len(text) <= width:
        return text
    if width <= 2:
        return set_cell_size(text, max(width, 0))
    tail = (width - 1) // 2
    return f"{set_cell_size(text, width - 1 - tail)}…{_last_cells(text, tail)}"


def _last_cells(text: str, width: int) -> str:
    while text and cell_len(text) > width:
        text = text[1:]
    return text


def _plain(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, end="")


def _right(text: str, style: str = "") -> Text:
    return Text(text, style=style, justify="right", no_wrap=True, end="")
