"""The judge: it reads what went in and what came out, and knows nothing of the faults."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos.mix import digest

Came = Mapping[str, Sequence[object]]
"""By name, each value that came out under it."""
_NUMBERED = {"order": "select number, doubled from arrived", "row": "select number, text from rows",
             "scan": "select number, digest from scans", "asked": "select number, doubled from asked"}


class Verdict(NamedTuple):
    """Names of what never came out, came out more than once, was never sent, or is not what it must be."""

    lost: list[str]
    twice: list[str]
    unknown: list[str]
    wrong: list[str]

    @property
    def clean(self) -> bool:
        """Nothing lost, nothing twice, nothing out of nowhere, nothing wrong."""
        return not any(self)


def judge(must: Mapping[str, object], may: Mapping[str, object], came: Came) -> Verdict:
    """Compare what must and what may come out with what did."""
    expected = {**may, **must}
    return Verdict(
        lost=sorted(set(must) - set(came)),
        twice=sorted(name for name, values in came.items() if len(values) > 1),
        unknown=sorted(set(came) - set(expected)),
        wrong=sorted(name for name, values in came.items()
                     if name in expected and any(value != expected[name] for value in values)),
    )


def outcome(data: Path, answers: Mapping[str, object]) -> Came:
    """What came out: rows, files, and the answers that callers were given."""
    came: dict[str, list[object]] = defaultdict(list)
    for name, value in (*_rows(data / "chaos.db"), *_files(data), *answers.items()):
        came[name].append(value)
    return came


def _rows(database: Path) -> Iterator[tuple[str, object]]:
    for name, statement in _NUMBERED.items():
        for number, value in _read(database, statement):
            yield f"{name} {number}", value
    for number, lines in _read(database, "select number, lines from baskets"):
        yield f"basket {number}", json.loads(lines)
    for (members,) in _read(database, "select members from tallies"):
        for member in json.loads(members):
            yield f"member {member}", member


def _read(database: Path, statement: str) -> list[Any]:
    if not database.exists():
        return []
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30) as connection:
        try:
            return connection.execute(statement).fetchall()
        except sqlite3.OperationalError:
            return []


def _files(data: Path) -> Iterator[tuple[str, object]]:
    """A second copy of a file is `7-2.bin`. Names with a dot are not yet those of a file."""
    for kind, folder in (("paper", "papers-out"), ("scan file", "scans-out")):
        for file in (data / folder).glob("[!.]*"):
            yield f"{kind} {file.stem.partition('-')[0]}", digest(file.read_bytes())
