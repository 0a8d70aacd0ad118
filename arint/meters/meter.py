"""Counters, gauges and histograms of one process. Owned by its event loop: no locks, nothing to flush.

    ATTEMPTS = Counter("arint_stage_attempts_total", "Attempts of stages.", ("flow", "stage", "outcome"))
    ATTEMPTS.at("orders", "start", "done").add()

Where it is hot, keep what `at` returns: adding takes a twentieth of a microsecond then, observing a fifth.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from arint.meters.snapshot import Kind, Point, Snapshot

MOST_SERIES = 1000
"""Label sets that a family may have in one process; what is beyond is counted together, under OTHER."""
OTHER = "(other)"
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of a duration: from a call in memory to a system that is about to time out."""


class Total:
    """One counter's number."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, amount: float = 1.0) -> None:
        """Count."""
        self.value += amount

    def point(self, labels: tuple[str, ...]) -> Point:
        """As it stands."""
        return Point(labels, self.value)


class Level(Total):
    """One gauge's number."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """It is so much now."""
        self.value = value


class Distribution:
    """One histogram's buckets."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """One more, of this size."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def point(self, labels: tuple[str, ...]) -> Point:
        """As it stands."""
        return Point(labels, self._sum, tuple(self._counts))


Series = TypeVar("Series", Total, Level, Distribution)


class _Family(Generic[Series]):
    """A name with its series, one for each set of label values."""

    kind: Kind

    def __init__(self, name: str, help: str, labels: tuple[str, ...] = ()) -> None:
        self.name = name
        self.help = help
        self.labels = labels
        self._series: dict[tuple[str, ...], Series] = {}
        FAMILIES[name] = self

    def at(self, *values: str) -> Series:
        """The series of these label values; made where it is new."""
        found = self._series.get(values)
        if found is None:
            found = self._new_series(values)
        return found

    def _new_series(self, values: tuple[str, ...]) -> Series:
        if len(values) != len(self.labels):
            raise TypeError(f"{self.name} has the labels {self.labels}")
        if len(self._series) >= MOST_SERIES:
            values = (OTHER,) * len(values)
        return self._series.setdefault(values, self._make())

    def _make(self) -> Series:
        raise NotImplementedError

    def snapshot(self) -> Snapshot:
        """Everything that was counted."""
        points = tuple(series.point(labels) for labels, series in self._series.items())
        return Snapshot(self.name, self.kind, self.help, self.labels, points)


class Counter(_Family[Total]):
    """Only grows while the process lives. Its name ends in `_total`."""

    kind = "counter"

    def _make(self) -> Total:
        return Total()


class Gauge(_Family[Level]):
    """Goes up and down."""

    kind = "gauge"

    def _make(self) -> Level:
        return Level()

    def replace(self, values: Mapping[tuple[str, ...], float]) -> None:
        """These are all that there are: what is gone is no longer shown."""
        self._series.clear()
        for labels, value in values.items():
            self.at(*labels).set(value)


class Histogram(_Family[Distribution]):
    """How often which size; `bounds` are the upper ends of its buckets."""

    kind = "histogram"

    def __init__(self, name: str, help: str, labels: tuple[str, ...] = (),
                 bounds: tuple[float, ...] = SECONDS) -> None:
        super().__init__(name, help, labels)
        self.bounds = bounds

    def _make(self) -> Distribution:
        return Distribution(self.bounds)

    def snapshot(self) -> Snapshot:
        """Everything that was observed."""
        found = super().snapshot()
        return Snapshot(found.name, found.kind, found.help, found.labels, found.points, self.bounds)


FAMILIES: dict[str, _Family[Any]] = {}
"""Every family of this process, by name; a plugin's own are among them."""


def snapshots() -> Iterable[Snapshot]:
    """Every family that has counted anything."""
    return (found for family in FAMILIES.values() if (found := family.snapshot()).points)
