"""What a data API asks of a database, all decided already: statements, typed values, how much may come back."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from plugins.sql.api.paging import PageOf

LARGEST_PAGE = 8 * 2**20
"""Bytes of one answer. A page ends early there; what has no pages is refused."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """`reads`: nothing is changed. `once`: what it changes is done once a key, and its answer kept for it.

    `types` are the types, or formats, of what may be null: PostgreSQL cannot guess them. `fingerprint` tells whether
    the same is asked when the key comes again.
    """

    statements: tuple[str, ...]
    values: dict[str, Any]
    types: dict[str, str] = {}
    rows: Literal["one", "all", "scalar", "changed"]
    limit: int
    reads: bool
    once: bool = False
    page: PageOf | None = None
    fingerprint: str = ""
