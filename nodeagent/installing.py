"""Installing what a service requires: `python -m nodeagent.installing HOME`, the set as JSON on stdin.

Wheels that are not here are fetched from the cluster's store first. See `nodeagent.helper`.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

from arint.errors import ArintError
from arint.here import refuse_elsewhere
from arint.home import Home
from arint.resources.kinds import Locked
from arint.resources.requirements import packages_of
from nodeagent import helper


def main() -> None:
    """Install one set."""
    from arint.artifacts.installing import install, missing

    home = Home(sys.argv[1])
    try:
        locked = msgspec.json.decode(sys.stdin.buffer.read(), type=Locked)
        refuse_elsewhere(locked)
        if missing(home, packages_of(locked)):
            _fetch(home, locked)
        install(home, locked)
    except (ArintError, OSError, ValueError) as error:
        helper.fail(error)


def _fetch(home: Home, locked: Locked) -> None:
    from arint.artifacts.transfer import bring_wheels
    from nodeagent.fetching import from_store

    asyncio.run(from_store(home, lambda bus: bring_wheels(bus, home, packages_of(locked))))


if __name__ == "__main__":
    main()
