"""A channel that is asked for several things is as many addresses: each as a binding of its own. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from arint.plugins import ChannelBinding, Operation
from plugins.http.specs import HttpChannel


def addresses(channels: Iterable[ChannelBinding]) -> Iterator[ChannelBinding]:
    """One binding for each address: a channel without operations is one as it stands."""
    for channel in channels:
        if not channel.operations:
            yield channel
        for operation in channel.operations:
            spec: HttpChannel = channel.spec
            path = (spec.path.rstrip("/") + operation.path) or "/"
            yield msgspec.structs.replace(
                channel, spec=msgspec.structs.replace(spec, path=path, methods=(operation.method,)),
                description=operation.description or channel.description, payload=operation.payload,
                result=operation.result, operations=(operation,))


def operation_of(channel: ChannelBinding) -> Operation | None:
    """The one operation of an address, where it is for one."""
    return channel.operations[0] if channel.operations else None
