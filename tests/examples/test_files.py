"""The page about files, done with real workers and a real broker; then the same with workers that keep dying."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from arint.home import Home
from arint.resources.manifests import Text, load_text
from arint.runtime.control import BusSettings, Orders
from tests.docs.test_documented import ROOT, blocks
from tests.runtime.stand_in import StandInAgent
from tests.servers import NatsServer

[PAGE] = [text for _, name, text in blocks(ROOT / "docs/how-to/files.md") if name == "files/orders.yaml"]
SMALL = """
kind: Channel
name: small-in
file: {path: "${ARINT_DATA}/small", settle: 0s, every: 50ms, concurrency: 20}
to: flow/collect
---
kind: Channel
name: large-in
file: {path: "${ARINT_DATA}/large", settle: 0s, every: 50ms, records: {format: csv, batch: 7}}
to: flow/collect
---
kind: Connection
name: out
file: {path: "${ARINT_DATA}/out"}
---
kind: Flow
name: collect
steps:
  - send: {to: connection/out, name: all.ndjson, if_exists: append}
"""


class Path1:
    def __init__(self, agent: StandInAgent, home: Home, bus: BusSettings) -> None:
        self.agent, self.home, self._bus = agent, home, bus

    def orders(self, manifest: str) -> tuple[Orders, Orders]:
        """The runner's and the source's."""
        declared = [one.resource for one in load_text(Text("files.yaml", manifest, self.home.path))]
        by: dict[str, Any] = {kind: tuple(one for one in declared if type(one).__name__ == kind)
                              for kind in ("Flow", "Connection", "Channel")}
        common: dict[str, Any] = {"node": "n1", "bus": self._bus, "home": str(self.home.path), "change_set": 1,
                                  "variables": {"ARINT_DATA": str(self.home.data)}, "flows": by["Flow"],
                                  "connections": by["Connection"], "fsync": False}
        return (Orders(instance="runner-1", role="runner", **common),
                Orders(instance="file-1", role="source", source="file", channels=by["Channel"], **common))


@pytest.fixture
async def path(tmp_path: Path, nats_tls_server: NatsServer) -> AsyncIterator[Path1]:
    home = Home(tmp_path / "home")
    pem = nats_tls_server.pem("worker")
    assert pem is not None
    async with StandInAgent(home) as agent:
        yield Path1(agent, home, BusSettings((nats_tls_server.server,), pem.ca, pem.certificate, pem.key))


async def test_the_page(path: Path1) -> None:
    for orders in path.orders(PAGE):
        await path.agent.start(orders)
    (path.home.data / "orders/monday.csv").write_bytes(
        b"Nr;Kunde;Datum;Summe\n7;M\374ller;31.05.2024;1.234,50\n8;\"A;B\";1.6.2024;2\n")
    await path.agent.until(lambda: list(path.home.data.glob("partner/*/*.xml")))
    [file] = path.home.data.glob("partner/*/monday.csv-0.xml")
    assert file.read_text() == """\
<?xml version="1.0" encoding="utf-8"?>
<orders>
  <order>
    <id>7</id>
    <customer>Müller</customer>
    <ordered>2024-05-31</ordered>
    <total>1234.50</total>
  </order>
  <order>
    <id>8</id>
    <customer>A;B</customer>
    <ordered>2024-06-01</ordered>
    <total>2</total>
  </order>
</orders>"""
    await path.agent.until(lambda: (path.home.data / "orders/.done/monday.csv").exists())


async def test_workers_that_keep_dying_lose_nothing_and_do_nothing_twice(path: Path1) -> None:
    runner, source = path.orders(SMALL)
    for name in ("small", "large"):
        (path.home.data / name).mkdir(parents=True)
    for number in range(60):
        (path.home.data / f"small/{number}.json").write_text(json.dumps({"small": number}))
    (path.home.data / "large/l.csv").write_text("n\n" + "".join(f"{number}\n" for number in range(3000)))
    deadly = {"file claimed": 0.4, "file stored": 0.02, "file piece stored": 0.4, "file appended": 0.005,
              "file append begun": 0.005, "stored": 0.005, "recorded": 0.005}
    path.agent.env["ARINT_FAILPOINTS"] = ",".join(f"{place}={chance}" for place, chance in deadly.items())
    for orders in (runner, source):
        await path.agent.start(orders, wait=False)
    deaths = 0
    async with asyncio.timeout(90):
        while len(collected(path)) < 60 + 429:
            if deaths > 5:
                path.agent.env.pop("ARINT_FAILPOINTS", None)
            for orders in (runner, source):
                if path.agent.processes[orders.instance].returncode is not None:
                    deaths += 1
                    await path.agent.start(orders, wait=False)
            await asyncio.sleep(0.05)
    found = collected(path)
    assert deaths >= 3
    assert sorted(one["small"] for one in found if isinstance(one, dict)) == list(range(60))
    assert sorted(int(row["n"]) for one in found if isinstance(one, list) for row in one) == list(range(3000))


def collected(path: Path1) -> list[Any]:
    file = path.home.data / "out/all.ndjson"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith(("}", "]"))]
