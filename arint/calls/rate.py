"""A declared rate, such as 100/s: the generic cell rate algorithm (ITU-T I.371), one number for each. Pure."""

from __future__ import annotations

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Rate:
    """So many in so much time; as many may come at once, after that they must be spread."""

    def __init__(self, text: str) -> None:
        count, _, unit = text.partition("/")
        self._period = _UNITS[unit]
        self._interval = self._period / int(count)
        self._due = float("-inf")

    def refused_for(self, now: float) -> float:
        """0 if one more may come now, and then it counts; else the seconds until one may."""
        due = max(self._due, now)
        early = due + self._interval - self._period - now
        if early > 1e-9:
            return early
        self._due = due + self._interval
        return 0.0
