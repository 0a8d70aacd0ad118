"""The change sets: reading what is applied, and listing who changed what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from arint.administration.registry import administrative

if TYPE_CHECKING:
    from arint.operations.connect import Link
    from arint.resources.kinds import Resource
    from arint.store.changesets import ChangeSet


class SetSummary(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One change set. `at` is in seconds since the epoch; what was changed is against the kept set before it."""

    number: int
    at: float
    author: str = ""
    message: str = ""
    parent: int = 0
    resources: int = 0
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    is_head: bool = False


async def applied(link: Link, number: int | None = None) -> tuple[int, dict[str, Resource]]:
    """The number of a change set (default: head) and its resources; 0 and nothing before the first apply."""
    from arint.resources.canonical import from_canonical

    sets = await link.change_sets()
    if number is None and await sets.head() is None:
        return 0, {}
    found, stored = await sets.load(number)
    return found.number, {key: from_canonical(data) for key, data in stored.items()}


@administrative("viewer")
async def history(link: Link) -> list[SetSummary]:
    """The change sets that are kept, the newest first."""
    sets = await link.change_sets()
    head = await sets.head()
    kept = sorted(await sets.history(), key=lambda one: one.number)
    found = [_summary(one, before, is_head=head is not None and one.number == head.number)
             for before, one in zip([None, *kept], kept, strict=False)]
    return found[::-1]


def _summary(one: ChangeSet, before: ChangeSet | None, *, is_head: bool) -> SetSummary:
    old = before.resources if before else {}
    new = one.resources
    return SetSummary(
        number=one.number, at=one.at, author=one.author, message=one.message, parent=one.parent or 0,
        resources=len(new), is_head=is_head, added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(sorted(key for key in new.keys() & old.keys() if new[key] != old[key])))
