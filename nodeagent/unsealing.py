"""Opening a sealed secret: `python -m nodeagent.unsealing HOME NAME`, from stdin to stdout (see `nodeagent.helper`)."""

from __future__ import annotations

import sys

from arint.errors import ArintError
from arint.home import Home


def main() -> None:
    """Open one."""
    from arint.security.sealing import Sealer

    home, name = sys.argv[1:3]
    try:
        value = Sealer.load(Home(home)).unseal(name, sys.stdin.buffer.read())
    except ArintError as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(value)


if __name__ == "__main__":
    main()
