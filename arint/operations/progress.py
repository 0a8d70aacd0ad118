"""What an operation says while it works: data, for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is being done, or (`done`) has been."""

    text: str
    done: bool = False


Progress = Callable[[Step], None]


def silent(step: Step) -> None:
    """For those who do not want to know."""
