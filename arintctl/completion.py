"""Live names for completion: asked of the cluster, within a moment, silently."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import typer

from arint.errors import ArintError

if TYPE_CHECKING:
    from arint.operations.connect import Link

_WITHIN = 1.5
"""Seconds: who presses TAB does not wait longer."""


def complete_context(incomplete: str) -> list[str]:
    """Contexts."""
    from arintctl.contexts import load

    try:
        return _starting(load().contexts, incomplete)
    except ArintError:
        return []


def complete_kind(incomplete: str) -> list[str]:
    """Kinds of resources."""
    from arint.resources.kinds import KINDS

    return _starting((kind.lower() for kind in KINDS), incomplete.lower())


def complete_resource(ctx: typer.Context, incomplete: str) -> list[str]:
    """Kinds, and `kind/name` of all resources."""
    async def names(link: Link) -> list[str]:
        from arint.operations.standing import resource_keys

        return [_shown(key) for key in await resource_keys(link)]

    return [*complete_kind(incomplete), *_starting(_asked(ctx, names), incomplete)]


def complete_flow(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of flows."""
    return [name.partition("/")[2] for name in complete_resource(ctx, f"flow/{incomplete}") if "/" in name]


def complete_channel(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of channels."""
    return [name.partition("/")[2] for name in complete_resource(ctx, f"channel/{incomplete}") if "/" in name]


def complete_service(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of services."""
    return [name.partition("/")[2] for name in complete_resource(ctx, f"service/{incomplete}") if "/" in name]


def complete_node(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of nodes."""
    async def names(link: Link) -> list[str]:
        from arint.store.keys import Keys

        keys = Keys(link.config.cluster)
        found, _ = await (await link.etcd()).range(keys.nodes_prefix, keys_only=True)
        return [kv.key.removeprefix(keys.nodes_prefix) for kv in found]

    return _starting(_asked(ctx, names), incomplete)


def complete_secret(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of secrets."""
    return [name.partition("/")[2] for name in complete_resource(ctx, f"secret/{incomplete}") if "/" in name]


def complete_user(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of users."""
    async def names(link: Link) -> list[str]:
        from arint.operations.users import list_users

        return [user.name for user in await list_users(link)]

    return _starting(_asked(ctx, names), incomplete)


def complete_instance(ctx: typer.Context, incomplete: str) -> list[str]:
    """Instances, and the engines."""
    async def names(link: Link) -> list[str]:
        from arint.operations.standing import standing

        status = await standing(link, within=_WITHIN)
        return sorted({item.instance for item in status.instances} | {engine.name for engine in status.engines})

    return _starting([*_asked(ctx, names), "agent"], incomplete)


def complete_message(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids of the newest messages."""
    async def names(link: Link) -> list[str]:
        from arint.operations.messages import ListArguments, list_messages

        return [message.id for message in await list_messages(link, ListArguments(limit=50))]

    return _starting(_asked(ctx, names), incomplete)


def complete_dead(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids of dead letters."""
    async def names(link: Link) -> list[str]:
        from arint.operations.dead import DeadFilter, list_dead

        return [letter.message for letter in await list_dead(link, DeadFilter(limit=50))]

    return _starting(_asked(ctx, names), incomplete)


def _asked(ctx: typer.Context, question: Callable[[Link], Awaitable[list[str]]]) -> list[str]:
    """The answer of the cluster that the words so far name; nothing where it does not answer."""
    from arintctl.session import Session, Settings, silence_libraries

    async def ask() -> list[str]:
        async with asyncio.timeout(_WITHIN), session.link() as link:
            return await question(link)

    words = {**ctx.find_root().params, **{key: value for key, value in ctx.params.items() if value}}
    session = Session(Settings(home=words.get("home"), context=words.get("context")))
    silence_libraries()
    try:
        return asyncio.run(ask())
    except (ArintError, OSError, TimeoutError):
        return []


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})


def _shown(key: str) -> str:
    kind, _, name = key.partition("/")
    return f"{kind.lower()}/{name}"
