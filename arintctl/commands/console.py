"""console: hands over to the console's own program."""

from __future__ import annotations

import os
import sys

from arintctl.session import Session
from arintctl.verb import commands, verb

app = commands()


@verb(app, "console", example="arintctl console")
def console(session: Session) -> None:
    """Open the console: a live overview in the terminal."""
    home = session.home()
    home.load()
    os.execv(sys.executable, [sys.executable, "-m", "tui", "--home", str(home.path)])  # noqa: S606
