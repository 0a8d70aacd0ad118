"""What a statement is, by its words. Pure, and light: no SQLAlchemy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

_COMMENTS = re.compile(r"\A(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/|\()+", re.DOTALL)
_QUOTED = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
_CHANGES = re.compile(r"\b(insert|update|delete|merge|replace|call|into)\b", re.IGNORECASE)
_NAMES = re.compile(r"(?<![:\w\\]):([A-Za-z_]\w*)(?!:)")
"""As SQLAlchemy finds them: `a::text` is a cast, `\\:` a colon."""
_READING = frozenset({"select", "values", "table", "show", "explain", "describe", "pragma", "with"})
MANY_ROWS = frozenset({"insert", "update", "delete", "replace", "merge"})
"""What drivers can do for many rows in one go."""


@lru_cache(maxsize=1024)
def first_word(statement: str) -> str:
    """The first word after comments and brackets, in lower case."""
    found = re.match(r"[A-Za-z]+", _COMMENTS.sub("", statement))
    return found[0].lower() if found else ""


@lru_cache(maxsize=1024)
def only_reads(statement: str) -> bool:
    """Does it look as if it changed nothing? The database is told so too, and refuses what does."""
    word = first_word(statement)
    return word in _READING and not (word == "with" and _CHANGES.search(_QUOTED.sub("", statement)))


def parameters_of(statement: str) -> list[str]:
    """The names after colons, each once. Those within quotes count too, as they do for SQLAlchemy."""
    return list(dict.fromkeys(_NAMES.findall(statement)))


def with_casts(statement: str, types: Mapping[str, str]) -> str:
    """The statement with these parameters cast to types of the database."""
    return _NAMES.sub(lambda found: f"cast({found[0]} as {types[found[1]]})" if found[1] in types else found[0],
                      statement)
