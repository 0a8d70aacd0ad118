"""Progress on stderr, only on a terminal, and only where nobody asked for quiet."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from arint.operations.progress import Progress, Step, silent


@contextmanager
def shown(*, quiet: bool) -> Iterator[Progress]:
    """A callback for an operation's steps: a spinner with the step under way, a line for each that is done."""
    if quiet or not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console  # 44 ms: only where there is a terminal to draw on

    console = Console(stderr=True, highlight=False)
    with console.status("", spinner="dots") as status:
        def step(made: Step) -> None:
            if made.done:
                console.print(f"  {made.text}", markup=False)
            else:
                status.update(_plain(made.text))

        yield step


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
