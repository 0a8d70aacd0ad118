"""Where channels are, and how one sends something there by hand. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from arint.home import NodeConfig
    from arint.resources.kinds import Channel


class Address(msgspec.Struct, frozen=True):
    """A channel's URL, and a command that sends it a message."""

    channel: str
    url: str
    command: str


def addresses_of(channels: Iterable[Channel], config: NodeConfig) -> tuple[Address, ...]:
    """Of the channels that are reached by HTTP, by name."""
    return tuple(Address(channel.name, url := url_of(channel, config), _curl(channel.spec, url))
                 for channel in sorted(channels, key=lambda one: one.name) if channel.transport == "http")


def url_of(channel: Channel, config: NodeConfig) -> str:
    """The URL of a channel that is reached by HTTP, on this node."""
    return f"http://{config.host}:{config.ports.http}{channel.spec.get('path', '')}"


def _curl(spec: dict[str, Any], url: str) -> str:
    methods = spec.get("methods") or ["POST"]
    words = ["curl", "-i", url]
    if "POST" not in methods:
        words += ["-X", str(methods[0])]
    if methods[0] not in ("GET", "HEAD", "DELETE") or "POST" in methods:
        words += ["--json", "{}"]
    auth = spec.get("auth") or {}
    if "api_key" in auth or "keys" in auth:
        words += ["-H", f"{auth.get('header', 'X-API-Key')}: ***"]
    elif "basic" in auth:
        words += ["-u", f"{auth['basic'].get('user', '')}:***"]
    return shlex.join(words)
