"""The help: every key, and what the codes and figures mean."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.bindings import GLOBAL, HELP, explained

WORDS = (
    ("ARCLST cluster", "one LAN's nodes, with their own etcd and broker"),
    ("ARSRV node", "a machine with a node agent"),
    ("ARLDB availability", "places services, and keeps their instances alive"),
    ("ARWADM console", "this program, and arintctl"),
    ("messages/s, MSG/S", "stages done a second, one for each place that a message passes; for a channel, accepted"),
    ("dead letters", "those that wait for somebody to replay, edit or drop them: arintctl dlq list"),
    ("FAILED", "attempts that failed since the process started"),
    ("open circuit", "a system that is away; its messages wait, and lose no attempt"),
)
MORE = "More: arintctl why MESSAGE, arintctl dlq list, arintctl events -f, arintctl logs INSTANCE"


class HelpScreen(ModalScreen[None]):
    """Lies over the overview, which goes on beneath."""

    BINDINGS: ClassVar[list[BindingType]] = [*HELP, *GLOBAL]  # a modal screen sees none but its own

    def compose(self) -> ComposeResult:
        """One text, to be scrolled where the terminal is small."""
        with VerticalScroll(id="help") as box:
            box.border_title = "Help"
            yield Static(_text(), markup=False)


def _text() -> Text:
    lines = [_line(key, meaning, 10) for key, meaning in explained()]
    lines += [Text(), *(_line(word, meaning, 20) for word, meaning in WORDS), Text(), Text(MORE)]
    return Text("\n").join(lines)


def _line(left: str, right: str, width: int) -> Text:
    return Text.assemble((left.ljust(width), "bold"), right)
