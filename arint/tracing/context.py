"""W3C Trace Context, and ids that are the same each time they are derived: what a crash repeats is the same span. Pure.

https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_SAMPLED = 1


class TraceContext(NamedTuple):
    """Where one is: in which trace, in which span of it, and whether somebody records it. Ids in hex."""

    trace: str
    span: str
    sampled: bool

    @property
    def traceparent(self) -> str:
        """As the header says it."""
        return f"00-{self.trace}-{self.span}-{'01' if self.sampled else '00'}"


def parse(traceparent: str) -> TraceContext | None:
    """What the header says; None for one that says nothing, as if it were not there."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    version, trace, span, flags = found.groups()
    if version == "ff" or trace == _NO_TRACE or span == _NO_SPAN or (version == "00" and len(traceparent) != 55):
        return None
    return TraceContext(trace, span, bool(int(flags, 16) & _SAMPLED))


def derived_trace(root: str) -> str:
    """The trace of a message whose caller began none."""
    return sha256(b"trace\x1f" + root.encode()).hexdigest()[:32]


def derived_span(trace: str, *parts: object) -> str:
    """A span's id, of what it is about."""
    return sha256("\x1f".join([trace, *map(str, parts)]).encode()).hexdigest()[:16]


def is_chosen(trace: str, ratio: float) -> bool:
    """Head sampling: of all traces this part, the same ones on every node (OpenTelemetry's TraceIdRatioBased)."""
    return int(trace[16:], 16) < ratio * 2.0**64
