"""Asking the broker over TLS whether JetStream works: `python -m nodeagent.probing HOME` (see `nodeagent.helper`)."""

from __future__ import annotations

import asyncio
import sys

from arint.engines.nats import ask_jetstream
from arint.home import Home


def main() -> None:
    """Ask once."""
    home = Home(sys.argv[1])
    config = home.load()
    try:
        asyncio.run(ask_jetstream(config.host, config.ports.nats, home.identity("agent")))
    except (OSError, ValueError, EOFError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
