"""When a node tells the cluster about its instances: state at once, yet not more than once a second on the whole.

etcd is for coordination. What changes with every message must not be written with every message: counters go seldom.
Pure: the time is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from arint.registry.records import Registration, without_counters

STATE_INTERVAL = 1.0
BURST = 3
"""So many changes of state may follow one another at once, as at a start: starting, ready."""
COUNTERS_INTERVAL = 5.0


class _Told(NamedTuple):
    registration: Registration
    at: tuple[float, ...]
    """The last writes, at most BURST of them, the oldest first."""


class Publisher:
    """Remembers what was told when. Every time is in seconds on one clock that never goes back."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}

    def due(self, current: Mapping[str, Registration], now: float) -> tuple[list[Registration], list[Registration]]:
        """What to write now, and the last written records of what is to be deleted.

        It is due again until `written` or `deleted` says that it was done.
        """
        write = [one for name, one in sorted(current.items()) if self._is_due(self._told.get(name), one, now)]
        gone = [told.registration for name, told in sorted(self._told.items()) if name not in current]
        return write, gone

    def next_due(self, current: Mapping[str, Registration]) -> float | None:
        """When something will be due though nothing changes any more; None if never."""
        times = [self._due_at(self._told[name], one) for name, one in current.items()
                 if name in self._told and self._told[name].registration != one]
        return min(times, default=None)

    def written(self, registration: Registration, now: float) -> None:
        """It stands in etcd."""
        told = self._told.get(registration.instance)
        before = told.at if told is not None else ()
        self._told[registration.instance] = _Told(registration, (*before, now)[-BURST:])

    def deleted(self, instance: str) -> None:
        """It is gone from etcd."""
        self._told.pop(instance, None)

    def found(self, registration: Registration) -> None:
        """It stands in etcd since an earlier run of this node's agent."""
        self._told[registration.instance] = _Told(registration, ())

    def forget(self) -> None:
        """The lease was lost, and every record with it."""
        self._told.clear()

    def _is_due(self, told: _Told | None, current: Registration, now: float) -> bool:
        if told is None:
            return True
        return told.registration != current and now >= self._due_at(told, current)

    @staticmethod
    def _due_at(told: _Told, current: Registration) -> float:
        if without_counters(told.registration) == without_counters(current):
            return told.at[-1] + COUNTERS_INTERVAL if told.at else float("-inf")
        return told.at[0] + BURST * STATE_INTERVAL if len(told.at) == BURST else float("-inf")
