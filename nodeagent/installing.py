"""Installing what a service requires: `python -m nodeagent.installing HOME`, the set as JSON on stdin.

See `nodeagent.helper`.
"""

from __future__ import annotations

import sys

import msgspec

from arint.errors import ArintError
from arint.home import Home
from arint.resources.kinds import Locked


def main() -> None:
    """Install one set."""
    from arint.artifacts.installing import install

    try:
        install(Home(sys.argv[1]), msgspec.json.decode(sys.stdin.buffer.read(), type=Locked))
    except (ArintError, OSError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
