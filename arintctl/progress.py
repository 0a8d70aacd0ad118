"""Progress on stderr, only on a terminal, and only where nobody asked for quiet."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from arint.operations.progress import Progress, Step, silent

if TYPE_CHECKING:
    from rich.status import Status


@contextmanager
def shown(*, quiet: bool) -> Iterator[Progress]:
    """A callback for an operation's steps: a spinner with the step under way, a line for each that is done."""
    if quiet or not sys.stderr.isatty():
        yield silent
        return
    drawing = _Drawing()
    try:
        yield drawing.step
    finally:
        drawing.end()


class _Drawing:
    """Begins with the first step: what has none (a stream of lines on the same terminal) is not drawn over."""

    def __init__(self) -> None:
        self._status: Status | None = None

    def step(self, made: Step) -> None:
        """Show a step."""
        from rich.markup import escape

        status = self._begun()
        if made.done:
            status.console.print(f"  {made.text}", markup=False)
        else:
            status.update(escape(made.text))

    def end(self) -> None:
        """Leave the terminal as it was."""
        if self._status is not None:
            self._status.stop()

    def _begun(self) -> Status:
        if self._status is None:
            from rich.console import Console  # 44 ms: only where there is something to draw, and a terminal

            self._status = Console(stderr=True, highlight=False).status("", spinner="dots")
            self._status.start()
        return self._status
