"""The console, a program of its own: `python -m tui --home HOME` (or `--access`). `arintctl console` becomes it."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import termios
from pathlib import Path

import msgspec

from arint.errors import ArintError, UsageError
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
    parser.add_argument("--access", help="how a cluster elsewhere is reached over the bus, as JSON (instead of --home)")
    given = parser.parse_args()
    try:
        link = _link(given.home, given.access)
    except ArintError as error:
        sys.stderr.write(f"arintctl: {error.title}: {printable(str(error))}\n")
        raise SystemExit(error.exit_code) from None
    asyncio.run(_run(link))


def _link(home: Path | None, access: str | None) -> Link:
    """To the cluster. Raises ArintError."""
    if access is None:
        link = Link(Home(home))
        link.home.load()
        return link
    from arint.administration.remote import Access, RemoteLink

    try:
        return RemoteLink(msgspec.json.decode(access, type=Access))
    except msgspec.MsgspecError as error:
        raise UsageError(f"--access cannot be read: {error}", remedy="open it with arintctl console") from None


async def _run(link: Link) -> None:
    async with link:
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
