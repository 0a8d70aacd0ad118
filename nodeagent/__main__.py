"""`python -m nodeagent --home HOME`: the agent of one machine. `arintctl up` starts it."""

from __future__ import annotations

import sys


def main() -> None:
    """Parse the command line, take the home's agent lock, and run."""
    _do_without_openssl()
    import argparse
    import asyncio
    import gc
    import logging
    import shlex
    from pathlib import Path

    parser = argparse.ArgumentParser(prog="python -m nodeagent", description="the agent of one machine")
    parser.add_argument("--home", required=True, type=Path)
    parser.add_argument("--worker", default="", help="the command of a worker, instead of `python -m arint.runtime`")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    from arint.errors import ArintError
    from arint.home import Home
    from nodeagent.agent import WORKER_COMMAND, Agent

    home = Home(arguments.home)
    gc.freeze()  # what was imported stays for good
    try:
        home.load()
        with home.agent_lock(wait=2.0):
            asyncio.run(Agent(home, shlex.split(arguments.worker) or WORKER_COMMAND).run())
    except ArintError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


def _do_without_openssl() -> None:
    """8 MiB less: asyncio does without `ssl` (gRPC brings a TLS of its own), hashlib with Python's own hashes."""
    sys.modules.update({"ssl": None, "_hashlib": None})  # type: ignore[dict-item]


if __name__ == "__main__":
    main()
