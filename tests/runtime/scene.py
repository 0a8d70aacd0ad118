"""A real broker and real workers that run flows; messages are put in at the start, as a channel would."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from arint.actions import Action
from arint.artifacts import pack, unpack
from arint.bus import lookup
from arint.bus.committer import Committer
from arint.bus.connection import Bus
from arint.bus.subjects import ACTIONS, Place, stream_of, tree
from arint.flows.json_text import parse_json
from arint.home import Home
from arint.message import ENVELOPE_HEADER, Message, encode_envelope
from arint.operations import trail
from arint.resources.manifests import Text, load_text
from arint.runtime.control import BusSettings, Orders
from tests.patience import PATIENCE
from tests.runtime.stand_in import StandInAgent
from tests.servers import NatsServer

RESULTS = """
kind: Connection
name: results
sql:
  url: "sqlite:///${ARINT_DATA}/results.db"
  setup: ["create table if not exists arrived (n text, more text)"]
---
"""
SEND = "send: {to: connection/results, statement: 'insert into arrived values (:n, :more)'}"
"""Needs a body with `n` and `more`, both text."""


class Scene:
    """`orders` are those of the runner and of each service, by instance."""

    def __init__(self, agent: StandInAgent, bus: Bus, nats: NatsServer, home: Home, orders: dict[str, Orders]) -> None:
        self.agent, self.bus, self.nats, self.home, self.orders = agent, bus, nats, home, orders
        self._committers: dict[str, Committer] = {}
        self.deaths = 0

    async def put(self, flow: str, body: Any, **known: Any) -> Message:
        """Store a message at the flow's start."""
        message = Message.new(json.dumps(body).encode(), **known)
        committer = self._committers.setdefault(flow, Committer(self.bus, stream_of(flow)))
        place = Place(message.root, message.id, 0, flow, "start")
        await committer.store(place.subject, message.body, {ENVELOPE_HEADER: encode_envelope(message)})
        return message

    async def start(self) -> None:
        """Start every instance."""
        for orders in self.orders.values():
            await self.agent.start(orders)

    def apply(self) -> None:
        """The same resources as another change set, while everything goes on."""
        for name, orders in self.orders.items():
            self.orders[name] = msgspec.structs.replace(orders, change_set=orders.change_set + 1)
            self.agent.give(self.orders[name])

    def rows(self) -> list[tuple[str, str]]:
        """What has arrived in the database, in the order of arriving."""
        file = self.home.data / "results.db"
        if not file.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as connection:
            try:
                return connection.execute("select n, more from arrived order by rowid").fetchall()
            except sqlite3.OperationalError:
                return []

    def counts(self) -> Counter[str]:
        """How often each has arrived."""
        return Counter(n for n, _ in self.rows())

    async def actions(self, root: str = "") -> list[Action]:
        """The action log, or that of one tree."""
        pattern = tree("a", root) if root else "a.>"
        return trail.actions_of(await lookup.look_up(self.bus, ACTIONS, pattern, limit=100_000))

    async def inputs(self, flow: str, stage: str) -> list[Any]:
        """The bodies of all that was stored for one stage."""
        found = await lookup.look_up(self.bus, stream_of(flow), f"m.*.*.*.{flow}.{stage}", limit=100_000)
        return [parse_json(one.body) for one in found]

    async def until(self, condition: Any, deadline: float = PATIENCE, what: str = "the condition") -> Any:
        """Wait for a condition, which may be a coroutine function."""
        if not asyncio.iscoroutinefunction(condition):
            return await self.agent.until(condition, deadline, what)
        end = asyncio.get_running_loop().time() + deadline
        while not (value := await condition()):
            assert asyncio.get_running_loop().time() < end, f"waited {deadline:g} s for {what}"
            await asyncio.sleep(0.05)
        return value

    @asynccontextmanager
    async def revived(self, deaths: int) -> AsyncIterator[None]:
        """Within, an instance that dies is started again at once; after so many deaths no failpoint counts any more."""
        async def watch(instance: str) -> None:
            while True:
                await self.agent.processes[instance].wait()
                self.deaths += 1
                if self.deaths == deaths:
                    self.agent.env.pop("ARINT_FAILPOINTS", None)
                await self.agent.start(self.orders[instance], wait=False)

        async with asyncio.TaskGroup() as tasks:
            watchers = [tasks.create_task(watch(instance)) for instance in self.orders]
            try:
                yield
            finally:
                for watcher in watchers:
                    watcher.cancel()


@asynccontextmanager
async def running(folder: Path, nats: NatsServer, manifest: str, code: str = "", *, failpoints: str = "",
                  start: bool = True) -> AsyncIterator[Scene]:
    """The manifest's flows, run by a runner and one worker for each of its services (`work.py`)."""
    home = Home(folder / "home")
    source = folder / "code"
    source.mkdir()
    (source / "work.py").write_text(code)
    declared = [one.resource for one in load_text(Text("scene.yaml", manifest, source))]
    by = {kind: tuple(one for one in declared if type(one).__name__ == kind)
          for kind in ("Flow", "Service", "Connection")}
    pem = nats.pem("worker")
    settings = BusSettings((nats.server,), *((pem.ca, pem.certificate, pem.key) if pem else ("", "", "")))
    env = {"ARINT_FAILPOINTS": failpoints} if failpoints else {}
    async with StandInAgent(home, env) as agent, await Bus.connect(settings) as bus:
        digest, packed = pack(source / "work.py")
        unpack(packed, home.artifact(digest), digest)
        common: dict[str, Any] = {"node": "n1", "bus": settings, "home": str(home.path), "change_set": 1,
                                  "variables": {"ARINT_DATA": str(home.data)}, "flows": by["Flow"],
                                  "services": by["Service"], "connections": by["Connection"]}
        orders = {"runner-1": Orders(instance="runner-1", role="runner", **common)}
        for service in by["Service"]:
            for number in range(1, service.replicas + 1):
                name = f"{service.name}-{number}"
                orders[name] = Orders(instance=name, role="service", service=service,
                                      code=str(home.artifact(digest)), **common)
        scene = Scene(agent, bus, nats, home, orders)
        if start:
            await scene.start()
        yield scene
