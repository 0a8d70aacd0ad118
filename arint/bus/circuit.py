"""A circuit breaker for one external system: a pure state machine, with the time as an argument.

The source: M. Nygard, "Release It!" (circuit breaker). Here one refusal opens it: a refused connection or a 503 is a
statement about the system, not about a message, and waiting uses no attempts.
"""

from __future__ import annotations

import random as randomness
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half-open"]
FIRST_PROBE = 0.5
LONGEST_PROBE = 30.0


class Circuit:
    """`closed`: use the system. `open`: leave it alone until `next_probe`. `half-open`: one probe is under way.

    Times are in seconds on any one clock.
    """

    def __init__(self, *, first: float = FIRST_PROBE, longest: float = LONGEST_PROBE,
                 random: Callable[[], float] = randomness.random) -> None:
        self._first, self._longest, self._random = first, longest, random
        self.state: State = "closed"
        self.since = 0.0
        """When it left `closed`; 0.0 while closed."""
        self.next_probe = 0.0
        """When the next probe is due, while open."""
        self.reason = ""
        self._probes = 0

    @property
    def closed(self) -> bool:
        """May the system be used?"""
        return self.state == "closed"

    def failed(self, now: float, *, reason: str = "", retry_after: float | None = None) -> bool:
        """The system refused or timed out. True when this opened the circuit.

        `retry_after`: the system itself named a time; no probe is made before it. Late failures of calls that began
        before it opened change nothing.
        """
        opened = self.state == "closed"
        if opened:
            self.since, self._probes = now, 0
        if self.state == "open":
            self.next_probe = max(self.next_probe, now + (retry_after or 0.0))
            return False
        self.state, self.reason = "open", reason
        self.next_probe = now + max(self._wait(), retry_after or 0.0)
        return opened

    def probe(self, now: float) -> bool:
        """True when a probe is due: then make one, and tell `succeeded` or `failed`. Only one is given out."""
        if self.state != "open" or now < self.next_probe:
            return False
        self.state = "half-open"
        return True

    def succeeded(self) -> bool:
        """A probe passed. True when this closed the circuit.

        While it is open, an answer to a call that began earlier proves nothing: only a probe closes it.
        """
        if self.state != "half-open":
            return False
        self.state, self.since, self.next_probe, self.reason, self._probes = "closed", 0.0, 0.0, "", 0
        return True

    def wait(self, now: float) -> float:
        """Seconds until the next probe is due; 0.0 when it is, or while none is needed."""
        return max(self.next_probe - now, 0.0) if self.state == "open" else 0.0

    def away_for(self, now: float) -> float:
        """For how many seconds the system has been away; 0.0 while it is not."""
        return now - self.since if not self.closed else 0.0

    def _wait(self) -> float:
        """0.5, 1, 2, … 30 s, with up to a fifth taken off by chance, so that many do not probe in step."""
        longest = min(self._first * 2.0 ** min(self._probes, 64), self._longest)
        self._probes += 1
        return longest * (1 - 0.2 * self._random())
