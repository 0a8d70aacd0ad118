"""`python -m arint.runtime --home HOME --instance ID`: a worker process, started by the agent."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import sys
from pathlib import Path

GC_THRESHOLDS = (10_000, 20, 20)
"""Hundreds of messages in flight are no garbage: Python's own 700 would look through them again and again."""


def main() -> None:
    """Parse the command line, and work."""
    parser = argparse.ArgumentParser(prog="python -m arint.runtime", description="a worker process of the node agent")
    parser.add_argument("--home", required=True, type=Path)
    parser.add_argument("--instance", required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns when a server closes its TLS before we do
    os.environ.pop("ARINT_PROCESS", None)  # the mark of a supervised process: not for what user code starts
    import uvloop

    from arint.home import Home
    from arint.runtime.worker import work

    gc.set_threshold(*GC_THRESHOLDS)
    gc.freeze()  # what was imported stays for good: do not look through it again and again
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(Home(arguments.home), arguments.instance))


if __name__ == "__main__":
    main()
