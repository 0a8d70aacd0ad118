"""The role `source`: one transport's channels, served at this node's address."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import msgspec

from arint.bus.subjects import flow_of
from arint.errors import NotFoundError
from arint.flows.contracts import Contract, contract_of
from arint.plugins import ChannelBinding, Source, Transport, load, transports
from arint.resources.graph import taken_from
from arint.resources.kinds import Channel, Connection
from arint.resources.published import operations_of
from arint.resources.variables import resolve
from arint.runtime.control import Orders
from arint.runtime.desk import Desk
from arint.runtime.intake import Intake
from arint.runtime.programs import Programs


def binding_of(channel: Channel, transport: Transport, variables: Mapping[str, str],
               contract: Contract, connections: Iterable[Connection] = ()) -> ChannelBinding:
    """A channel as its transport is given it. Raises msgspec.ValidationError for a spec that is none."""
    assert transport.channel is not None
    needed = taken_from(channel)
    sources = {one.name: msgspec.convert(resolve(one.spec, variables), transport.connection)
               for one in connections if one.name in needed and transport.connection is not None}
    return ChannelBinding(channel.name, msgspec.convert(resolve(channel.spec, variables), transport.channel),
                          channel.to, channel.delivery, channel.description, contract.payload, contract.result,
                          sources, operations_of(channel, _published(channel, connections)))


def _published(channel: Channel, connections: Iterable[Connection]) -> Connection | None:
    name = channel.to.partition("/")[2]
    return next((one for one in connections if channel.queries and one.name == name), None)


class SourceUnit:
    """Starts the transport's source once, and tells it of every change of its channels."""

    contract = None
    in_flight = 0
    program = None

    def __init__(self, desk: Desk, tasks: asyncio.TaskGroup) -> None:
        self._desk = desk
        self._intake = Intake(desk)
        self._measuring = tasks.create_task(self._intake.measure(), name="measure streams")
        self._source: Source | None = None

    async def apply(self, orders: Orders) -> None:
        """Serve the orders' channels; their flows' streams are there before the first message."""
        transport = transports().get(orders.source)
        if transport is None or transport.channel is None:
            raise NotFoundError(f"no installed plugin has the transport {orders.source}", where=orders.instance,
                                remedy="install it on this node")
        programs = Programs(orders)
        limits: dict[str, int] = {}
        immediate = {channel.name: channel for channel in orders.channels if channel.delivery == "immediate"}
        for channel in orders.channels:
            if channel.name in immediate:
                continue
            flow = flow_of(*channel.to.split("/", 1))
            limits[flow] = programs.limit(flow)
            await programs.ensure(self._desk, flow)
        await self._serve_immediate(immediate, orders)
        self._intake.update({channel.name: channel for channel in orders.channels}, limits, orders.secrets)
        flows = {flow.name: flow for flow in orders.flows}
        bindings = [binding_of(channel, transport, orders.variables, contract_of(channel.to, flows, orders.contracts),
                               orders.connections)
                    for channel in orders.channels]
        if self._source is None:
            source: Source = load(transport.source)()
            await source.start(self._intake, host=orders.host, port=orders.port)
            self._source = source
        await self._source.update(bindings)

    async def _serve_immediate(self, channels: Mapping[str, Channel], orders: Orders) -> None:
        if self._intake.immediate is None and channels:
            from arint.runtime.immediate import Immediate

            self._intake.immediate = Immediate(self._desk, fsync=orders.fsync)
        if self._intake.immediate is not None:
            await self._intake.immediate.update(channels, orders)

    @property
    def circuits(self) -> dict[str, float]:
        """Connections that are away, where the source takes from some."""
        return dict(getattr(self._source, "circuits", {}))

    @property
    def trouble(self) -> str:
        """What the source says of itself."""
        return str(getattr(self._source, "trouble", ""))

    async def stop(self, grace: float) -> None:
        """Close the door, finish the requests under way."""
        if self._source is not None:
            await self._source.stop(grace)
        self._measuring.cancel()
        await self._intake.close()
