"""Code and packages for every node: into the cluster's store before a change set names them, and out of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from arint.availability import quorum
from arint.errors import DeniedError
from arint.operations.progress import Progress, Step
from arint.resources.requirements import packages_of

if TYPE_CHECKING:
    from arint.bus.connection import Bus
    from arint.operations.connect import Link
    from arint.operations.desired import Desired
    from arint.resources.kinds import Locked


async def ship(link: Link, desired: Desired, progress: Progress) -> None:
    """Keep for all nodes what the services need: packed now, or lying here from before.

    Raises DeniedError on a node that is no server, ArintError where it does not fit, UnreachableError.
    """
    from arint.artifacts import store, transfer

    await bring_code(link, desired.exported, progress)
    here = [transfer.code_here(link.home, digest) for digest in desired.exported]
    wheels = [transfer.wheel_here(link.home, sha256) for sha256 in sorted(_wheels(desired.sets))]
    packed = [transfer.packed_code(digest, code) for digest, code in desired.artifacts.items()]
    pieces = [*packed, *(piece for piece in (*here, *wheels) if piece is not None)]
    if not pieces:
        return
    if not link.config.is_server:
        raise DeniedError("code is given to the cluster by its servers only", where=f"node {link.config.node}",
                          remedy=f"apply on one of them: {', '.join(sorted(link.config.members))}")
    await store.put(await link.bus(), pieces, replicas=quorum.replicas(len(link.config.servers)),
                    said=lambda said: progress(Step(said)))


async def bring_packages(link: Link, sets: Iterable[tuple[Locked, object]], progress: Progress) -> None:
    """Fetch wheels that the cluster keeps and this home does not; the others are left to whoever asks an index."""
    from arint.artifacts import store, transfer
    from arint.artifacts.installing import missing

    packages = missing(link.home, {package for locked, _ in sets for package in packages_of(locked)})
    if not packages:
        return
    async with _reading(link) as bus:
        there = await store.kept(bus)
        known = [package for package in sorted(packages) if ("wheel", package.sha256) in there]
        if known:
            progress(Step(f"bringing {', '.join(package.spoken for package in known)}"))
            await transfer.bring_wheels(bus, link.home, known)


async def bring_code(link: Link, digests: Iterable[str], progress: Progress) -> None:
    """Fetch code that this home has not. Raises NotFoundError for what is not kept."""
    from arint.artifacts import transfer

    lacking = sorted({digest for digest in digests if digest and not link.home.artifact(digest).is_dir()})
    if not lacking:
        return
    async with _reading(link) as bus:
        for digest in lacking:
            progress(Step(f"bringing code {digest[:12]}"))
            await transfer.bring_code(bus, link.home, digest)


async def lost(link: Link, digests: Collection[str]) -> set[str]:
    """Those of these digests of code that neither this home nor the cluster's store has."""
    from arint.artifacts import store

    away = {digest for digest in digests if digest and not link.home.artifact(digest).is_dir()}
    if not away:
        return set()
    async with _reading(link) as bus:
        there = await store.kept(bus)
    return {digest for digest in away if ("code", digest) not in there}


@asynccontextmanager
async def _reading(link: Link) -> AsyncIterator[Bus]:
    """A connection that may read the store: the administrator's on a server, elsewhere the agent's."""
    if link.config.is_server:
        yield await link.bus()
        return
    from arint.bus.connection import Bus
    from arint.runtime.control import BusSettings

    settings = BusSettings(link.config.nats_servers, *link.home.identity("agent"))
    async with await Bus.connect(settings, name="arintctl") as bus:
        yield bus


def _wheels(sets: Iterable[tuple[Locked, object]]) -> set[str]:
    return {package.sha256 for locked, _ in sets for package in packages_of(locked)}
