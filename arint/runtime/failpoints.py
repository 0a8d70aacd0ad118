"""Places where a test lets a worker die: nothing happens unless ARINT_FAILPOINTS names them.

    ARINT_FAILPOINTS="stored=0.001,recorded=0.001"

kills this process (SIGKILL, as a crash would) at each place with that probability. The idea is gofail's, as in
etcd's robustness tests.
"""

from __future__ import annotations

import os
import random
import signal


def _parse(text: str) -> dict[str, float]:
    pairs = (part.partition("=") for part in text.split(",") if part)
    return {name: float(chance) for name, _, chance in pairs}


_CHANCES = _parse(os.environ.get("ARINT_FAILPOINTS", ""))


def failpoint(name: str) -> None:
    """Perhaps die here."""
    if _CHANCES and random.random() < _CHANCES.get(name, 0.0):  # noqa: S311 - no secret
        os.kill(os.getpid(), signal.SIGKILL)
