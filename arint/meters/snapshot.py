"""What was counted, as data: from a worker to the agent, and from there to whoever asks."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]


class Point(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One series: its label values, its number. Of a histogram: the sum, and how many fell into each bucket."""

    labels: tuple[str, ...]
    value: float
    buckets: tuple[int, ...] = ()


class Snapshot(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One family. `bounds` are a histogram's upper bounds; its points have one bucket more, for what is above."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    points: tuple[Point, ...]
    bounds: tuple[float, ...] = ()

    def labelled(self, **more: str) -> Snapshot:
        """The same with further labels, each of one value."""
        names, values = tuple(more), tuple(more.values())
        points = tuple(Point((*values, *point.labels), point.value, point.buckets) for point in self.points)
        return Snapshot(self.name, self.kind, self.help, (*names, *self.labels), points, self.bounds)


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(tuple[Snapshot, ...]).decode
