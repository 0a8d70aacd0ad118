"""Whether one more call is taken: refused early, it costs nothing; answered too late, it has cost all. Pure.

By Little's law a new call will have its answer after (calls under way) / (answers a second). Where that is later than
its deadline, it is refused at once. The rate is measured only while there are enough calls under way that it is the
target's own pace; in the first moments of such a time nothing is refused (as CoDel, RFC 8289: a burst is no queue).
"""

from __future__ import annotations

from typing import NamedTuple

FEW = 16
"""So many under way are never refused."""
MOST = 512
"""More are never under way, unless the target says that it works at more at once."""
SETTLE = 0.5
"""Seconds for which a target must be busy before its pace says anything."""
WINDOW = 1.0
SHARE = 0.8
"""Of the time left that may go by with waiting."""
LONGEST_RETRY = 30.0


class _Pace(NamedTuple):
    """Answers counted since a time, and how many there were a second before it (-1: not known)."""

    since: float
    answers: int
    before: float


class Admission:
    """One for each target. Times are in seconds on any one clock that never goes back."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.most = MOST
        self._busy_since = 0.0
        self._pace = _Pace(0.0, 0, -1.0)

    def begin(self, now: float) -> None:
        """A call begins."""
        self.in_flight += 1
        if self.in_flight == FEW:
            self._busy_since, self._pace = now, _Pace(now, 0, -1.0)

    def end(self, now: float, *, answered: bool = True) -> None:
        """It has ended; one that was only given up says nothing of the target's pace."""
        self.in_flight -= 1
        if answered and self.in_flight >= FEW - 1:
            self._roll(now)
            self._pace = self._pace._replace(answers=self._pace.answers + 1)

    def refused_for(self, now: float, left: float) -> float:
        """0 where one more call, with `left` seconds to its deadline, is taken; else the seconds until another try."""
        if self.in_flight < FEW:
            return 0.0
        expected = self._expected(now)
        if self.in_flight >= self.most:
            return _bounded(expected)
        if now - self._busy_since < SETTLE or expected <= left * SHARE:
            return 0.0
        return _bounded(expected - left * SHARE)

    def _expected(self, now: float) -> float:
        """Seconds until a new call would have its answer."""
        self._roll(now)
        pace = self._pace
        elapsed = now - pace.since
        answers = pace.answers + max(pace.before, 0.0) * (WINDOW - elapsed)
        a_second = answers / (WINDOW if pace.before >= 0 else max(elapsed, SETTLE))
        return (self.in_flight + 1) / a_second if a_second > 0 else float("inf")

    def _roll(self, now: float) -> None:
        elapsed = now - self._pace.since
        if elapsed >= WINDOW:
            a_second = self._pace.answers / elapsed
            self._pace = _Pace(now, 0, a_second)


def _bounded(wait: float) -> float:
    return min(max(wait, 1.0), LONGEST_RETRY)
