"""The phases of each machine, on stderr: a line for each that is done; on a terminal also what is under way."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from arint.operations.machines import Told
from arintctl.text import printable


@contextmanager
def shown(*, quiet: bool) -> Iterator[Callable[[Told], None]]:
    """What to call at each step; from any thread."""
    if quiet or not sys.stderr.isatty():
        yield lambda told: None
        return
    drawing = _Drawing()
    yield drawing.step
    drawing.end()


class _Drawing:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = False

    def step(self, told: Told) -> None:
        """Show it."""
        if not told.text:
            return
        with self._lock:
            if self._open:
                sys.stderr.write("\r\x1b[K")
            sys.stderr.write(f"{told.node:<12} {told.phase:<12} {printable(told.text)}")
            self._open = not told.done
            if told.done:
                sys.stderr.write("\n")
            sys.stderr.flush()

    def end(self) -> None:
        """Leave the terminal as it was."""
        if self._open:
            sys.stderr.write("\r\x1b[K")
