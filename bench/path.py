"""A data path to measure: a real broker with mTLS, real worker processes, ordered by a stand-in for the agent."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from arint.artifacts import pack, unpack
from arint.bus import streams
from arint.bus.connection import Bus
from arint.bus.subjects import ACTIONS, stream_of
from arint.flows.state import Output
from arint.home import Home
from arint.message import Message
from arint.ports import free_port
from arint.resources.manifests import Text, load_text
from arint.runtime.control import BusSettings, Orders
from arint.runtime.desk import Desk
from arint.runtime.programs import Programs
from arint.security.ca import ensure_pki
from tests.runtime.stand_in import StandInAgent
from tests.servers import NatsServer, node_config

DEADLINE = 120.0


class Path1:
    """One running path; `bus` is the measurer's own connection."""

    def __init__(self, agent: StandInAgent, nats: NatsServer, bus: Bus, common: dict[str, Any]) -> None:
        self.agent, self.nats, self.bus, self.common = agent, nats, bus, common

    def orders(self, instance: str, role: str, **more: Any) -> Orders:
        """Orders for one instance."""
        return Orders(instance=instance, role=role, **self.common, **more)  # type: ignore[arg-type]

    def service(self, name: str) -> Orders:
        """Orders for the only replica of a service."""
        return self.orders(f"{name}-1", "service", code=self.code,
                           service=next(one for one in self.common["services"] if one.name == name))

    def source(self) -> Orders:
        """Orders for the HTTP listener."""
        return self.orders("http-1", "source", source="http", port=free_port(), channels=self.channels,
                           secrets={"key": b"bench-key"})

    channels: tuple[Any, ...] = ()
    code: str = ""

    def pid(self, instance: str) -> int:
        """The process of an instance."""
        return self.agent.processes[instance].pid

    async def fill(self, flow: str, bodies: Iterable[bytes], *, traceparent: str = "") -> int:
        """Store messages at the flow's start, before its workers run; returns how many."""
        desk = Desk(self.bus, self.orders("filler", "runner"))
        await Programs(self.orders("filler", "runner")).ensure(desk, flow)
        count = 0
        pending: list[Message] = []
        for body in bodies:
            message = Message.new(body, content_type="application/json", channel="bench",
                                  headers={"user-agent": "bench"}, traceparent=traceparent)
            pending.append(message)
            count += 1
            if len(pending) == 2000:
                await asyncio.gather(*(desk.store(Output(flow, "start", one)) for one in pending))
                pending.clear()
        await asyncio.gather(*(desk.store(Output(flow, "start", one)) for one in pending))
        await desk.close()
        return count

    async def count(self, stream: str) -> int:
        """Messages in a stream."""
        return (await streams.state(self.bus, stream)).messages

    async def actions(self) -> int:
        """Action records so far."""
        return await self.count(ACTIONS)

    async def messages(self, flow: str) -> int:
        """Stage inputs stored so far."""
        return await self.count(stream_of(flow))


@asynccontextmanager
async def running(manifest: str, code: str, *, fsync: bool = True) -> AsyncIterator[Path1]:
    """The broker, and an agent that waits for orders; nothing is left behind."""
    with tempfile.TemporaryDirectory(prefix="arint-bench-") as folder:
        root = Path(folder)
        home = Home(root / "home")
        home.make_folders()
        home.save(node_config("n1"))  # its certificates name the node that the broker lets in
        ensure_pki(home)
        (root / "code").mkdir()
        (root / "code" / "work.py").write_text(code)
        declared = [one.resource for one in load_text(Text("bench.yaml", manifest, root / "code"))]
        by = {kind: tuple(one for one in declared if type(one).__name__ == kind)
              for kind in ("Flow", "Service", "Connection", "Channel")}
        nats = NatsServer(root / "nats", tls=True, pki=home.pki, fsync=fsync, max_file_store=16 * 2**30)
        await asyncio.to_thread(nats.start)
        try:
            pem = nats.pem("worker")
            assert pem is not None
            settings = BusSettings((nats.server,), pem.ca, pem.certificate, pem.key)
            digest, packed = pack(root / "code" / "work.py")
            unpack(packed, home.artifact(digest), digest)
            common = {"node": "n1", "bus": settings, "home": str(home.path), "change_set": 1,
                      "variables": {"ARINT_DATA": str(home.data)}, "fsync": fsync,
                      "flows": by["Flow"], "services": by["Service"], "connections": by["Connection"]}
            async with StandInAgent(home) as agent, await Bus.connect(settings, name="bench") as bus:
                await streams.ensure_core(bus)
                path = Path1(agent, nats, bus, common)
                path.channels, path.code = by["Channel"], str(home.artifact(digest))
                yield path
        finally:
            await asyncio.to_thread(nats.close)
