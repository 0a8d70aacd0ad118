"""Throughput over the last minute: kept as numbers, drawn as one line of blocks. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from arint.operations.overview import Overview, Rates

KEPT = 120
"""Points, one a second."""
BLOCKS = "▁▂▃▄▅▆▇█"
TOTAL, ACCEPTED = "=processed", "=accepted"
"""Keys of the cluster's own trends; no service is called so."""


class Trends:
    """The last points of every service's throughput, and of the cluster's."""

    def __init__(self) -> None:
        self._points: dict[str, deque[float]] = {}

    def take(self, overview: Overview) -> None:
        """One more point for each; whoever is gone is forgotten."""
        now = {service.service: service.rates for service in overview.services}
        rates = overview.totals.rates or Rates()
        values = {name: throughput(one) or 0.0 for name, one in now.items()}
        values |= {TOTAL: rates.processed, ACCEPTED: rates.accepted}
        for name, value in values.items():
            self._points.setdefault(name, deque(maxlen=KEPT)).append(value)
        for gone in self._points.keys() - values.keys():
            del self._points[gone]

    def of(self, name: str) -> Sequence[float]:
        """The points, the oldest first."""
        return tuple(self._points.get(name, ()))


def throughput(rates: Rates | None) -> float | None:
    """What goes through a service: channels accept, all others process; none does both."""
    return rates.accepted + rates.processed if rates is not None else None


def spark(points: Iterable[float], width: int) -> str:
    """The newest `width` points as blocks, the highest one full; blank where there is none yet, or nothing moved."""
    shown = list(points)[-width:] if width > 0 else []
    top = max(shown, default=0.0)
    return "".join(_block(point, top) for point in shown).rjust(max(width, 0))


def _block(point: float, top: float) -> str:
    """A lowest block for little, none for nothing: little is not nothing."""
    if point <= 0 or top <= 0:
        return " "
    return BLOCKS[min(len(BLOCKS) - 1, int(point / top * len(BLOCKS)))]
