"""One span: something that began, ended, and is part of a trace."""

from __future__ import annotations

from typing import Literal

import msgspec

SpanKind = Literal["internal", "server", "client", "producer", "consumer"]


class Span(msgspec.Struct, kw_only=True):
    """`id`, `trace` and `parent` in hex; `began` and `ended` in nanoseconds since the epoch; `error` if it failed."""

    trace: str
    id: str
    parent: str = ""
    name: str
    kind: SpanKind
    began: int
    ended: int = 0
    attributes: dict[str, str | int] = {}
    error: str = ""
