"""Secrets out of what is written for people to keep: by the names under which they stand. Pure."""

from __future__ import annotations

import re
from typing import Any

MASK = "***"
_SECRET = re.compile(r"(^|[-_.])(authorization|cookie|pass(word|wd|phrase)?|secret|credentials?|token|"
                     r"(api|access|private)[-_]?key|x-.*-key)($|[-_.])", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def masked(value: Any) -> Any:
    """The value, with what stands under a name that tells of a secret replaced, however deep."""
    if isinstance(value, dict):
        return {key: MASK if _is_secret(key) and item not in (None, "") else masked(item)
                for key, item in value.items()}
    return [masked(item) for item in value] if isinstance(value, list) else value


def _is_secret(key: object) -> bool:
    return isinstance(key, str) and bool(_SECRET.search(_CAMEL.sub("_", key)))
