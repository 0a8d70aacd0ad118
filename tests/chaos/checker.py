"""The judge: it reads what went in and what came out, and knows nothing of the faults."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Verdict(NamedTuple):
    """Numbers of orders: never arrived, arrived more than once, arrived but never accepted."""

    lost: list[int]
    twice: list[int]
    unknown: list[int]

    @property
    def clean(self) -> bool:
        """Nothing lost, nothing twice, nothing out of nowhere."""
        return not (self.lost or self.twice or self.unknown)


def judge(accepted: Mapping[int, str], database: Path) -> Verdict:
    """Compare the accepted orders with the rows of `arrived`, which has no unique key to hide a second copy."""
    counts = arrivals(database)
    return Verdict(
        lost=sorted(set(accepted) - set(counts)),
        twice=sorted(number for number, times in counts.items() if times > 1),
        unknown=sorted(set(counts) - set(accepted)),
    )


def arrivals(database: Path) -> Counter[int]:
    """How often each order stands in the database."""
    if not database.exists():
        return Counter()
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30) as connection:
        try:
            rows = connection.execute("select number from arrived").fetchall()
        except sqlite3.OperationalError:
            return Counter()
    return Counter(number for (number,) in rows)
