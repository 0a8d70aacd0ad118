"""Where spans go, as a node's configuration and a worker's orders say it."""

from __future__ import annotations

import msgspec


class TraceSettings(msgspec.Struct, frozen=True):
    """`endpoint` is the base address of an OTLP/HTTP collector; `ratio` the part of new traces that is sampled."""

    endpoint: str
    ratio: float = 1.0
