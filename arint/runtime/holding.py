"""The deadline of what may run only once: kept by the worker itself, should its agent be dead or silent.

The agent tells it again and again until when this node's lease is certain to be held. From then on another node may run
the same service, so this process must be gone by then, whatever its event loop is doing: a thread watches the clock.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

LEAVE_BEFORE = 0.5
"""Seconds before the deadline at which it is asked to leave; at the deadline it is killed, with what it started."""
_LOOK = 0.1  # the wait itself would stand still while the machine sleeps, and CLOCK_BOOTTIME does not


class Deadline:
    """Made inside the event loop in which `leave` is to be called, once."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self._loop = asyncio.get_running_loop()
        self._until = 0.0
        self._watch: threading.Thread | None = None

    def hold(self, until: float) -> None:
        """It may go on until then (seconds of CLOCK_BOOTTIME); an earlier word than the last is not heeded."""
        self._until = max(self._until, until)
        if self._watch is None:
            self._watch = threading.Thread(target=self._watch_clock, name="deadline", daemon=True)
            self._watch.start()

    def _watch_clock(self) -> None:
        asked = False
        while (left := self._until - time.clock_gettime(time.CLOCK_BOOTTIME)) > 0:
            if left <= LEAVE_BEFORE and not asked:
                asked = True
                self._ask_to_leave()
            time.sleep(min(_LOOK, left))
        log.error("the lease of this node may have ended: this process ends now")
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    def _ask_to_leave(self) -> None:
        log.warning("no word from the node agent that its lease is held: leaving")
        try:
            self._loop.call_soon_threadsafe(self._leave)
        except RuntimeError:  # the loop is closed: it is leaving already
            log.debug("the loop is closed")
