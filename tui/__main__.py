"""The console as a program of its own: `python -m tui --home HOME`. `arintctl console` becomes this process."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import termios
from pathlib import Path

from arint.errors import ArintError
from arint.home import Home
from arint.operations.connect import Link
from arint.operations.following import Following
from arint.operations.standing import standings
from arint.text import printable
from tui.app import Console

GONE = 128 + signal.SIGHUP
"""The exit code of who lost the terminal."""


def main() -> None:
    """Run until its user quits, or the terminal goes."""
    parser = argparse.ArgumentParser(prog="python -m tui", description="The console of an ARINT cluster.")
    parser.add_argument("--home", type=Path, help="the cluster's home folder (default: $ARINT_HOME)")
    home = Home(parser.parse_args().home)
    try:
        home.load()
    except ArintError as error:
        sys.stderr.write(f"arintctl: {error.title}: {printable(str(error))}\n")
        raise SystemExit(error.exit_code) from None
    asyncio.run(_run(home))


async def _run(home: Home) -> None:
    async with Link(home) as link:
        console = Console(Following(lambda: standings(link)))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):  # else the terminal would be left as the console uses it
            loop.add_signal_handler(number, _leave, console)
        await console.run_async()


def _leave(console: Console) -> None:
    """Quit; at once where the terminal itself is gone: Textual would wait for ever to write to it."""
    try:
        termios.tcgetattr(sys.stdin)
    except termios.error:
        os._exit(GONE)
    console.exit()


if __name__ == "__main__":
    main()
