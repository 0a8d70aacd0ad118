"""Changing the configuration: plan, apply, delete, rollback. Each makes one change set, or none."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from arint.administration.registry import administrative, at_home
from arint.errors import ConflictError, NotFoundError
from arint.operations.desired import Desired, desired_from
from arint.operations.history import applied
from arint.operations.inventory import spoken
from arint.operations.progress import Progress, Step, silent
from arint.operations.rollout import services_in, wait_until_ready
from arint.operations.room import refuse_without_room
from arint.resources.canonical import canonical
from arint.resources.diff import Change, diff
from arint.resources.graph import still_used

if TYPE_CHECKING:
    from arint.operations.connect import Link
    from arint.resources.kinds import Resource


class ApplyArguments(msgspec.Struct, frozen=True, kw_only=True):
    """What to apply. `check` is the head that a plan was made against; -1 does not ask. `timeout` in seconds.

    `wheelhouse` is the only folder that packages are taken from; `upgrade` resolves locked requirements anew.
    `hasty`: new versions take over as soon as they are ready.
    """

    paths: tuple[Path, ...]
    prune: bool = False
    check: int = -1
    message: str = ""
    author: str = ""
    wait: bool = True
    timeout: float = 60.0
    wheelhouse: Path | None = None
    upgrade: bool = False
    hasty: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What would change, and the head that this was compared with (`apply --check`)."""

    check: int
    changes: tuple[Change, ...]


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What was changed: the number of the change set that is head now, and whether all of it runs."""

    change_set: int
    changes: tuple[Change, ...]
    ready: bool


async def plan(link: Link, arguments: ApplyArguments, progress: Progress = silent) -> Plan:
    """What `apply` would change. Raises NotValidError with every problem there is."""
    head, changes, _ = await _compared(link, arguments, progress)
    return Plan(check=head, changes=changes)


@at_home
async def apply(link: Link, arguments: ApplyArguments, progress: Progress = silent) -> Applied:
    """Make the cluster what the manifests say: all of it, or nothing.

    Raises NotValidError with every problem, ConflictError if head moved since `check` or meanwhile, ArintError with
    the traceback where a service does not come up, TimedOutError where that is not known in time.
    """
    head, changes, desired = await _compared(link, arguments, progress)
    if arguments.check not in (-1, head):
        raise ConflictError(f"the configuration changed: head is {head}, the plan was made against {arguments.check}",
                            remedy="plan again, look at what changed, then apply with the new --check")
    if changes or desired.artifacts:  # applied again, it also mends what was lost or damaged
        await _store(link, desired, progress)
    if changes:
        progress(Step("making the change set"))
        head = await commit(link, desired.resources, head, arguments.author, arguments.message, hasty=arguments.hasty)
    declared = {key: desired.resources[key] for key in desired.declared}
    return await finish(link, head, desired.resources, changes, arguments.wait, arguments.timeout, progress,
                         answers_for=declared, sources=desired.sources)


@administrative("administrator")
async def delete(link: Link, keys: Sequence[str], *, dry_run: bool = False, author: str = "",
                 wait: bool = True, timeout: float = 60.0, progress: Progress = silent) -> Applied:
    """Remove resources (`Kind/name`). Raises NotFoundError, or ConflictError while others refer to them."""
    head, existing = await applied(link)
    _refuse_unknown(keys, existing)
    used = still_used(existing, keys)
    if used:
        told = "; ".join(f"{spoken(key)} by {', '.join(map(spoken, users))}" for key, users in used.items())
        raise ConflictError(f"still in use: {told}", remedy="delete those as well, or change them first")
    left = {key: resource for key, resource in existing.items() if key not in keys}
    changes = changes_between(existing, left)
    if dry_run:
        return Applied(change_set=head, changes=changes, ready=False)
    head = await commit(link, left, head, author, f"delete {', '.join(map(spoken, keys))}")
    return await finish(link, head, left, changes, wait, timeout, progress, answers_for=None)


@administrative("administrator")
async def rollback(link: Link, to: int | None, *, dry_run: bool = False, author: str = "", wait: bool = True,
                   timeout: float = 60.0, progress: Progress = silent) -> Applied:
    """Make a new change set with the content of an earlier one (default: head's parent), code and secrets included.

    Raises NotFoundError where that one is no longer kept.
    """
    sets = await link.change_sets()
    head = await sets.head()
    if head is None or (to is None and not head.parent):
        raise NotFoundError("there is no earlier change set", remedy="arintctl history lists them")
    target = head.parent if to is None else to
    _, now = await applied(link)
    _, then = await applied(link, target)
    changes = changes_between(now, then)
    if dry_run or not changes:
        return Applied(change_set=head.number, changes=changes, ready=False)
    await refuse_without_room(link, then)
    made = await sets.rollback(target, expected_head=head.number, author=author or link.actor or whoami(),
                               message=f"rollback to {target}")
    changed = {key: then[key] for key in then if then[key] != now.get(key)}
    return await finish(link, made.number, then, changes, wait, timeout, progress, answers_for=changed)


def changes_between(before: Mapping[str, Resource], after: Mapping[str, Resource]) -> tuple[Change, ...]:
    """What becomes of each resource, field by field, secrets masked. Pure."""
    return tuple(diff(_stored(before), _stored(after)))


def whoami() -> str:
    """Who makes a change: the user of this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


async def _compared(link: Link, arguments: ApplyArguments,
                    progress: Progress) -> tuple[int, tuple[Change, ...], Desired]:
    progress(Step("reading what is applied"))
    head, existing = await applied(link)
    progress(Step("checking the manifests"))
    desired = desired_from(link.home, arguments.paths, existing, prune=arguments.prune, upgrade=arguments.upgrade,
                           wheelhouse=arguments.wheelhouse, progress=progress)
    await _refuse_lost(link, desired.exported)
    changes = changes_between(existing, desired.resources)
    if changes:
        progress(Step("looking whether the broker has room"))
        await refuse_without_room(link, desired.resources)
    return head, changes, desired


async def _refuse_lost(link: Link, exported: Mapping[str, str]) -> None:
    from arint.operations.shipping import lost

    if gone := await lost(link, exported):
        told = ", ".join(f"service/{exported[digest]} ({digest[:12]})" for digest in sorted(gone))
        raise NotFoundError(f"neither the source is here, nor is the code kept any more, of {told}",
                            remedy="apply from the folder with the source")


async def _store(link: Link, desired: Desired, progress: Progress) -> None:
    """Code and secrets first: a change set never names what is not there."""
    from arint.artifacts import unpack
    from arint.operations.requiring import provide
    from arint.operations.shipping import bring_packages, ship

    await bring_packages(link, desired.sets, progress)
    provide(link.home, desired.sets, progress)
    for digest, packed in desired.artifacts.items():
        if not link.home.artifact(digest).is_dir():
            progress(Step(f"storing code {digest[:12]}"))
            unpack(packed, link.home.artifact(digest), digest)
        os.utime(link.home.artifact(digest))  # it is wanted now: the sweep of what nobody names lets it be
    await ship(link, desired, progress)
    await seal(link, desired.secrets, progress)


async def seal(link: Link, values: Mapping[tuple[str, str], bytes], progress: Progress) -> None:
    """Keep the values of secrets, by name and digest, sealed. A rotation of the key ring meanwhile is met once."""
    from arint.security.sealing import Sealer

    kept = await link.secrets()
    for (name, digest), value in values.items():
        progress(Step(f"sealing secret {name}"))
        for is_last in (False, True):
            sealer = Sealer.load(link.home)
            try:
                await kept.put(name, digest, sealer.seal(name, value), key=sealer.newest)
            except ConflictError:
                if is_last:
                    raise
            else:
                break


async def commit(link: Link, resources: Mapping[str, Resource], head: int, author: str, message: str, *,
                 hasty: bool = False) -> int:
    """Put the resources in force as the whole configuration; the number of the set. Raises ConflictError."""
    sets = await link.change_sets()
    made = await sets.commit(_stored(resources), expected_head=head, author=author or link.actor or whoami(),
                             message=message, hasty=hasty)
    return made.number


def _stored(resources: Mapping[str, Resource]) -> dict[str, bytes]:
    return {key: canonical(resource) for key, resource in resources.items()}


async def finish(link: Link, number: int, resources: Mapping[str, Resource], changes: tuple[Change, ...],
                  wait: bool, timeout: float, progress: Progress, *, answers_for: Mapping[str, Resource] | None,
                  sources: Mapping[str, Path] | None = None) -> Applied:
    """`answers_for`: what this change brought (None: all); that another service failed before is no failure of it."""
    if wait and number:
        await wait_until_ready(link, number, resources, timeout=timeout, progress=progress,
                               concerned=None if answers_for is None else services_in(answers_for),
                               sources=sources or {})
    return Applied(change_set=number, changes=changes, ready=wait)


def _refuse_unknown(keys: Iterable[str], existing: Mapping[str, Resource]) -> None:
    from arint.resources.problems import nearest

    for key in keys:
        if key not in existing:
            raise NotFoundError(f"there is no {spoken(key)}",
                                remedy=nearest(spoken(key), map(spoken, existing)) or "nothing is applied yet")
