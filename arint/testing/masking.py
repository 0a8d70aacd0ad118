"""Secrets out of what is written for people to keep: by the names under which they stand. Pure."""

from __future__ import annotations

from typing import Any

from arint.masking import MASK, Masks

__all__ = ["MASK", "masked"]


def masked(value: Any) -> Any:
    """The value, with what stands under a name that tells of a secret replaced, however deep."""
    return Masks().value(value)
