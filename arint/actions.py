"""The action log's record: what became of one attempt of one stage of one message. No bodies, no secrets."""

from __future__ import annotations

from typing import Literal

import msgspec

Outcome = Literal["accepted", "done", "failed", "deferred", "suspected", "dead", "caught", "replayed", "edited",
                  "dropped"]
"""`suspected`: its worker was lost before, now it is tried alone; written before the attempt."""


class Action(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One attempt. `at` is seconds since the epoch, `took` in seconds; `to` are the stages stored next."""

    root: str
    message: str
    run: int = 0
    flow: str
    stage: str
    attempt: int
    at: float
    took: float = 0.0
    node: str = ""
    instance: str = ""
    outcome: Outcome
    to: tuple[str, ...] = ()
    error: str = ""
    error_kind: str = ""
    next_try: float = 0.0
    change_set: int = 0
    channel: str = ""
    size: int = 0
