"""The action log's record: what became of one attempt of one stage of one message. No bodies, no secrets."""

from __future__ import annotations

from typing import Literal

import msgspec

Outcome = Literal["accepted", "done", "filtered", "aggregated", "delayed", "failed", "deferred", "suspected", "dead",
                  "caught", "replayed", "edited", "dropped", "answered"]
"""`suspected`: its worker was lost before, now it is tried alone; written before the attempt.

`answered`: an immediate call, whose caller has the outcome, good or bad; in the stage `immediate`.
`delayed`: it waits for its time, which is `next_try`. `aggregated`: it went into the message that `to` names.
"""
ENDS: frozenset[Outcome] = frozenset({"done", "filtered", "aggregated", "dead", "caught"})
"""After one of these the stage is not done again."""


class Action(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One attempt. `at` is seconds since the epoch, `took` in seconds; `to` are the stages stored next.

    `parts`: how many messages a step made of this one. `error_at` is the line of the service's code that raised:
    `price.py:31`. Of an immediate call: the `status` that its caller was answered, and how many bytes (`answered`).
    """

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
    parts: int = 0
    error: str = ""
    error_kind: str = ""
    error_at: str = ""
    next_try: float = 0.0
    change_set: int = 0
    channel: str = ""
    size: int = 0
    status: int = 0
    answered: int = 0
