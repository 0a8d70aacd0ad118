"""The compiled flows of a set of orders, and the streams that hold their messages."""

from __future__ import annotations

from arint.bus import streams
from arint.bus.keeper import Watched
from arint.bus.streams import IMPLICIT_BYTES, set_aside
from arint.bus.subjects import api_of, flow_of
from arint.flows.compile import START, Instruction, Program, Stage, compile_flow, implicit_program
from arint.plugins import load, transports
from arint.resources.kinds import Channel, Connection, Retry
from arint.resources.published import queries_of
from arint.resources.quantities import octets, seconds
from arint.runtime.control import Orders
from arint.runtime.desk import Desk

IMPLICIT_KEEP = 24 * 3600.0


class Programs:
    """Every flow of the orders by its token, the implicit ones of services and connections included."""

    def __init__(self, orders: Orders) -> None:
        self._flows = {flow.name: flow for flow in orders.flows}
        self.all: dict[str, Program] = {name: compile_flow(flow, self._flows) for name, flow in self._flows.items()}
        named = [("service", service.name) for service in orders.services]
        named += [("connection", connection.name) for connection in orders.connections]
        if orders.service is not None:
            named.append(("service", orders.service.name))
        for kind, name in named:
            token = flow_of(kind, name)
            self.all.setdefault(token, implicit_program(token))

        declared = {connection.name: connection for connection in orders.connections}
        self.apis: dict[str, Program] = {
            api_of(channel.name): _api(channel, declared[channel.to.partition("/")[2]]) for channel in orders.channels
            if channel.queries and channel.to.partition("/")[2] in declared and orders.role == "runner"}
        """What channels publish of connections: answered at once, and in no stream."""

    def limit(self, flow: str) -> int:
        """How many bytes the flow's messages may take before its channels answer 503."""
        return octets(self._flows[flow].max_bytes) if flow in self._flows else IMPLICIT_BYTES

    async def ensure(self, desk: Desk, flow: str) -> None:
        """The flow's stream, and a consumer for each of its stages, before the first message is stored."""
        program = self.all[flow]
        await desk.ensure_flow(flow, max_bytes=set_aside(self.limit(flow), len(program.stages)))
        for stage in program.stages:
            await streams.ensure_consumer(desk.bus, flow, stage, ack_wait=(
                streams.OWNER_ACK_WAIT if program.has_owner(stage) else streams.ACK_WAIT))

    def watched(self) -> list[Watched]:
        """What the keeper trims."""
        return [Watched(flow=flow, stages=frozenset(program.stages),
                        keep=seconds(self._flows[flow].keep) if flow in self._flows else IMPLICIT_KEEP,
                        limit=self.limit(flow))
                for flow, program in self.all.items()]


def _api(channel: Channel, connection: Connection) -> Program:
    """One step, which the connection's plugin makes of the channel's queries."""
    api = load(transports()[connection.transport].api)()
    step = api.step(queries_of(channel, connection.transport), connection.name)
    stage = Stage(token=START, kind=step.key, target=step.target, at=0, retry=Retry(attempts=1))
    code = (Instruction("effect", "0", step.key, step=step, token=START), Instruction("end"))
    return Program(api_of(channel.name), {START: stage}, code)
