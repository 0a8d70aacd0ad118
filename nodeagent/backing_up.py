"""Backups by schedule: `Backups` in the agent waits, `python -m nodeagent.backing_up HOME` makes one, and ends."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path

import msgspec

from arint.backup.schedule import Outcome, Schedule, due, read_outcome, read_schedule, write_outcome
from arint.errors import ArintError
from arint.home import Home
from nodeagent import helper

log = logging.getLogger(__name__)
POLL = 2.0
"""Seconds between looks at the schedule."""


class Backups:
    """Makes the backups of `home` by its schedule, until cancelled; `error` is the last failure."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.error = ""

    async def run(self) -> None:
        """An attempt that failed is told, and made again."""
        while True:
            try:
                await self._make_due()
            except (ArintError, OSError) as error:
                self._fail(str(error))
            await asyncio.sleep(POLL)

    async def _make_due(self) -> None:
        schedule, outcome = read_schedule(self._home), read_outcome(self._home)
        self.error = f"the backup failed: {outcome.error}" if schedule is not None and outcome.error else ""
        # A clock that was set back must not put off backups for ever.
        if schedule is None or outcome.at <= time.time() < due(schedule, outcome):
            return
        at = time.time()
        try:
            made = (await helper.run("nodeagent.backing_up", str(self._home.path))).decode().strip()
        except (ArintError, OSError) as error:
            self._fail(str(error))
            write_outcome(self._home, msgspec.structs.replace(outcome, at=at, error=str(error)))
        else:
            log.info("backup %s is written and verified", made)
            self.error = ""
            write_outcome(self._home, Outcome(at=at, file=made, succeeded=time.time()))

    def _fail(self, error: str) -> None:
        log.warning("the backup failed: %s", error)
        self.error = f"the backup failed: {error}"


async def make(home: Home, schedule: Schedule) -> Path:
    """One backup now; then the oldest go, so that `keep` stay. Raises what `backup` raises."""
    from arint.operations.backup import backup, backups_in
    from arint.operations.connect import Link

    folder, passphrase = _found(schedule)
    async with Link(home) as link:
        made = await backup(link, folder, passphrase)
        for old in backups_in(folder, link.config.cluster)[:-schedule.keep]:
            old.unlink(missing_ok=True)
    return Path(made.file)


def _found(schedule: Schedule) -> tuple[Path, bytes]:
    """The folder and the passphrase. Raises ArintError, OSError."""
    folder = Path(schedule.to)
    if not folder.is_dir():
        raise ArintError("the folder for backups is not there", where=schedule.to, remedy="make it, or mount its disk")
    return folder, Path(schedule.passphrase_file).read_bytes().removesuffix(b"\n").removesuffix(b"\r")


def main() -> None:
    """Make one; its name on stdout."""
    home = Home(sys.argv[1])
    try:
        schedule = read_schedule(home)
        if schedule is not None:
            sys.stdout.write(f"{asyncio.run(make(home, schedule))}\n")
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")
    except ArintError as error:
        sys.exit(str(error).replace("\n", " "))


if __name__ == "__main__":
    main()
