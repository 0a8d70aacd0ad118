"""The engines that this machine has: which would run, why not the others, and fetching a newer one."""

from __future__ import annotations

import os

import msgspec

from arint.engines.fetch import FetchResult, fetch_engine
from arint.engines.find import ETCD, NATS, Want, candidates, find_etcd, find_nats
from arint.errors import ArintError
from arint.operations.progress import Progress, Step, silent


class EngineRow(msgspec.Struct, frozen=True):
    """A program that was found. `reason` tells why it is `used` or not."""

    engine: str
    version: str
    place: str
    path: str
    used: bool
    reason: str


class FetchArguments(msgspec.Struct, frozen=True, kw_only=True):
    """Which engine; `suite` of Debian (the first that has one new enough, if empty); `again` though there is one."""

    name: str
    suite: str = ""
    again: bool = False


def list_engines() -> list[EngineRow]:
    """Every program of an engine on this machine, in the order in which they are preferred."""
    return [*_rows(ETCD), *_rows(NATS)]


def fetch(arguments: FetchArguments, progress: Progress = silent) -> FetchResult:
    """Fetch an engine into the user's cache. Raises what `arint.engines.fetch.fetch_engine` raises."""
    result = fetch_engine(arguments.name, suite=arguments.suite, again=arguments.again,
                          tell=lambda text: progress(Step(text)))
    progress(Step(f"etcd {result.version} is there", done=True))
    return result


def _rows(want: Want) -> list[EngineRow]:
    rows = []
    taken = ""
    if named := os.environ.get(want.variable):
        try:
            program = find_etcd() if want is ETCD else find_nats()
            rows.append(EngineRow(want.name, program.version_text, program.why, program.path, True, "named"))
            taken = program.path
        except ArintError as error:
            rows.append(EngineRow(want.name, "", f"named by {want.variable}", named, False, error.what))
            taken = named  # a named one that is wrong is an error: no other is taken in its place
    for one in candidates(want):
        if not one.path:
            continue
        used = not taken and not one.reason
        reason = "the first that does" if used else one.reason or "another goes first"
        rows.append(EngineRow(want.name, one.version_text, one.place, one.path, used, reason))
        taken = taken or (one.path if used else "")
    return rows
