"""A clock that a test sets and moves: nothing waits, and everything that asks for the time is told the same."""

from __future__ import annotations

from datetime import UTC, datetime

from arint.resources.quantities import seconds


class Clock:
    """Stands still unless it is moved: by the test, or by a flow that waits for a retry, a delay or a system.

        clock = Clock("2026-12-31T23:59:00Z")
        run = FlowTest("orders.yaml", clock=clock).run(order)
        assert clock.passed == 7.0
    """

    def __init__(self, now: str | float | datetime = "2026-01-01T00:00:00Z") -> None:
        if isinstance(now, str):
            now = datetime.fromisoformat(now)
        if isinstance(now, datetime):
            now = (now if now.tzinfo is not None else now.replace(tzinfo=UTC)).timestamp()
        self._began = self._now = float(now)

    def time(self) -> float:
        """Seconds since the epoch, as `time.time` gives them."""
        return self._now

    @property
    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.fromtimestamp(self._now, UTC)

    @property
    def passed(self) -> float:
        """Seconds since it was made."""
        return self._now - self._began

    def advance(self, by: float | str) -> None:
        """Move it: by seconds, or by a duration such as "5m"."""
        self._now += seconds(by) if isinstance(by, str) else by
