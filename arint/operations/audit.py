"""Reading the audit: what was done, and whether the record of it is whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from arint.administration.audit import Audit, Record, Verified
from arint.administration.registry import administrative
from arint.errors import NotFoundError

if TYPE_CHECKING:
    from arint.operations.connect import Link

_RECORDS_A_CALL = 2
_LOOKED_THROUGH = 20_000
Ended = Literal["done", "failed", "cancelled", "denied", "unfinished"]


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls. `since` in seconds since the epoch; empty words ask for all."""

    user: str = ""
    operation: str = ""
    outcome: str = ""
    since: float = 0.0
    limit: int = 50


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One call. `number` is that of its first record; `at` in seconds since the epoch, `took` in seconds."""

    call: str
    number: int
    at: float
    user: str
    operation: str
    outcome: Ended
    """`unfinished`: it is under way, or who worked at it died."""
    role: str = ""
    via: str = ""
    node: str = ""
    took: float = 0.0
    change_set: int = 0
    error: str = ""
    arguments: dict[str, Any] = {}


@administrative("administrator")
async def list_audit(link: Link, wanted: AuditFilter) -> list[Entry]:
    """The newest calls that fit, the newest first."""
    limit = _RECORDS_A_CALL * wanted.limit + 100
    if wanted.operation or wanted.outcome or wanted.since:
        limit = max(limit, _LOOKED_THROUGH)
    found = entries(await (await _audit(link)).newest(limit, wanted.user))
    return [one for one in found if _fits(one, wanted)][:wanted.limit]


@administrative("administrator")
async def show_audit(link: Link, call: str) -> Entry:
    """One call, by its id or its number. Raises NotFoundError."""
    for one in entries(await (await _audit(link)).newest(_LOOKED_THROUGH)):
        if call in (one.call, str(one.number)):
            return one
    raise NotFoundError(f"there is no call {call!r} among the newest", remedy="arintctl audit list")


@administrative("viewer")
async def verify_audit(link: Link) -> Verified:
    """Look through the whole chain: is every record there, and as it was written?"""
    return await (await _audit(link)).verify()


def entries(records: Iterable[tuple[int, Record]]) -> list[Entry]:
    """One entry for each call, of its records (numbers and records, the newest first). Pure."""
    found: dict[str, Entry] = {}
    for number, one in records:
        outcome: Ended = "unfinished" if one.outcome == "begun" else one.outcome
        known = found.get(one.call)
        if known is None:
            found[one.call] = Entry(
                call=one.call, number=number, at=one.at, user=one.user, operation=one.operation, outcome=outcome,
                role=one.role, via=one.via, node=one.node, took=one.took, change_set=one.change_set, error=one.error,
                arguments=one.arguments)
        else:
            found[one.call] = msgspec.structs.replace(known, number=number, at=one.at)
    return sorted(found.values(), key=lambda entry: -entry.number)


def _fits(one: Entry, wanted: AuditFilter) -> bool:
    return ((not wanted.operation or wanted.operation in one.operation)
            and (not wanted.outcome or one.outcome == wanted.outcome) and one.at >= wanted.since)


async def _audit(link: Link) -> Audit:
    audit = Audit(await link.bus(), await link.etcd(), link.config.cluster)
    await audit.ensure()
    return audit
