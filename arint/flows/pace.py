"""Pacing: when may the next one go? The generic cell rate algorithm (ITU-T I.371), one clock a key. Pure."""

from __future__ import annotations

_PRUNE_FROM = 10_000
"""Keys from which on those are looked for whose clock says nothing any more."""


class Pace:
    """Gives out moments `interval` seconds apart for each key; `burst` of them may come at once after a pause."""

    def __init__(self, interval: float, burst: int = 1) -> None:
        self.interval = interval
        self.burst = burst
        self._next: dict[str, float] = {}
        self._prune_at = _PRUNE_FROM

    def slot(self, key: str, now: float, *, within: float = float("inf")) -> float | None:
        """The moment at which the next one of this key may go, and take it; None if that is later than `within`."""
        following = max(self._next.get(key, 0.0), now)
        slot = max(now, following - (self.burst - 1) * self.interval)
        if slot - now > within:
            return None
        self._next[key] = following + self.interval
        if len(self._next) >= self._prune_at:
            self._prune(now)
        return slot

    def _prune(self, now: float) -> None:
        self._next = {key: following for key, following in self._next.items() if following > now}
        self._prune_at = max(_PRUNE_FROM, 2 * len(self._next))
