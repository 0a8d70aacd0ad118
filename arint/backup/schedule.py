"""Backups that the agent makes by itself: what was asked for, and what became of it. Two small files in the home."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from arint.errors import NotValidError
from arint.home import Home, write_private

RETRY = 900.0
"""Seconds after which one that failed is tried again, at the latest."""
Kept = TypeVar("Kept")


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Every so many seconds a backup into the folder `to`; the newest `keep` of them stay."""

    every: float
    keep: int
    to: str
    passphrase_file: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The last attempt, and the last success. Times are in seconds since the epoch, 0 for never."""

    at: float = 0.0
    error: str = ""
    file: str = ""
    succeeded: float = 0.0


def schedule_file(home: Home) -> Path:
    """Where the schedule stands."""
    return home.path / "backups.json"


def read_schedule(home: Home) -> Schedule | None:
    """None where there is none. Raises NotValidError."""
    return _read(schedule_file(home), Schedule)


def read_outcome(home: Home) -> Outcome:
    """What became of the last attempt. Raises NotValidError."""
    return _read(_outcome_file(home), Outcome) or Outcome()


def write_schedule(home: Home, schedule: Schedule | None) -> None:
    """From now on; None for no more."""
    if schedule is None:
        schedule_file(home).unlink(missing_ok=True)
    else:
        write_private(schedule_file(home), msgspec.json.encode(schedule))


def write_outcome(home: Home, outcome: Outcome) -> None:
    """Of an attempt that has ended."""
    write_private(_outcome_file(home), msgspec.json.encode(outcome))


def due(schedule: Schedule, outcome: Outcome) -> float:
    """When the next attempt is to be made: the first at once, one that failed sooner again. Pure."""
    if not outcome.at:
        return 0.0
    return outcome.at + (min(schedule.every, RETRY) if outcome.error else schedule.every)


def _outcome_file(home: Home) -> Path:
    return home.path / "backups.last.json"


def _read(file: Path, kind: type[Kept]) -> Kept | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise NotValidError(f"it cannot be read: {error}", where=str(file),
                            remedy="set it again: arintctl cluster backup schedule") from None
