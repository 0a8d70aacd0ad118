"""A second system that fails, hangs and comes back: no attempt is used, nobody else is held up, nothing is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arint.bus.committer import Committer
from arint.bus.connection import Bus
from arint.bus.subjects import Place, stream_of
from arint.home import Home
from arint.message import ENVELOPE_HEADER, Message, encode_envelope
from arint.ports import free_port
from arint.resources.manifests import Text, load_text
from arint.runtime.control import BusSettings, Orders
from tests.runtime.stand_in import StandInAgent
from tests.servers import NatsServer

MANIFEST = """
kind: Connection
name: partner
http: {{url: "http://127.0.0.1:{port}", timeout: 2s}}
---
kind: Flow
name: out
unavailable_for: {patience}
steps:
  - send: {{to: connection/partner, path: /in}}
---
kind: Flow
name: other
steps:
  - set: {{body.ok: "true"}}
  - log: fine
"""


class Partner:
    """A server of HTTP/1.1 that answers with `status`, or hangs where that is 0."""

    def __init__(self, port: int) -> None:
        self.port, self.status = port, 200
        self.got: list[dict[str, object]] = []
        self.answered: list[int] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lengths = [line.split(":")[1] for line in head.splitlines() if "content-length" in line.lower()]
            body = await reader.readexactly(int(lengths[0]) if lengths else 0)
            if self.status == 0:
                await reader.read()  # until the caller gives up
            elif body and self.status == 200:
                self.got.append(json.loads(body))
            writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % (self.status or 500))
            await writer.drain()
            self.answered.append(self.status)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Scene:
    def __init__(self, agent: StandInAgent, bus: Bus, partner: Partner, home: Home) -> None:
        self.agent, self.bus, self.partner, self.home = agent, bus, partner, home
        self._committers: dict[str, Committer] = {}

    async def put(self, flow: str, **body: object) -> None:
        message = Message.new(json.dumps(body).encode())
        committer = self._committers.setdefault(flow, Committer(self.bus, stream_of(flow)))
        place = Place(message.root, message.id, 0, flow, "start")
        await committer.store(place.subject, message.body, {ENVELOPE_HEADER: encode_envelope(message)})

    def outcomes(self, flow: str) -> list[str]:
        files = self.home.log.glob("actions-*.jsonl")
        lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        return [line["outcome"] for line in lines if line["flow"] == flow]


@pytest.fixture
async def scene(tmp_path: Path, nats_tls_server: NatsServer, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    home = Home(tmp_path / "home")
    partner = Partner(free_port())
    patience = getattr(request, "param", "1h")
    declared = [one.resource for one in load_text(Text("away.yaml", MANIFEST.format(port=partner.port,
                                                                                    patience=patience), tmp_path))]
    by = {kind: tuple(one for one in declared if type(one).__name__ == kind) for kind in ("Flow", "Connection")}
    pem = nats_tls_server.pem("worker")
    assert pem is not None
    settings = BusSettings((nats_tls_server.server,), pem.ca, pem.certificate, pem.key)
    async with StandInAgent(home) as agent, await Bus.connect(settings) as bus:
        await agent.start(Orders(instance="runner-1", role="runner", node="n1", bus=settings, home=str(home.path),
                                 flows=by["Flow"], connections=by["Connection"], variables={}))
        yield Scene(agent, bus, partner, home)
        await partner.stop()


async def test_what_is_refused_waits_and_arrives_when_the_system_is_back(scene: Scene) -> None:
    for number in range(20):
        await scene.put("out", n=number)
    await scene.agent.until(lambda: scene.agent.beats["runner-1"].circuits)
    await scene.put("other", n=1)
    await scene.agent.until(lambda: "done" in scene.outcomes("other"))
    await scene.partner.start()
    await scene.agent.until(lambda: len(scene.partner.got) == 20)
    assert sorted(one["n"] for one in scene.partner.got) == list(range(20))
    await scene.agent.until(lambda: not scene.agent.beats["runner-1"].circuits)
    assert "failed" not in scene.outcomes("out") and "dead" not in scene.outcomes("out")


async def test_one_that_hangs_and_answers_503_is_away_too(scene: Scene) -> None:
    await scene.partner.start()
    scene.partner.status = 0
    await scene.put("out", n=1)
    await scene.agent.until(lambda: "deferred" in scene.outcomes("out"))
    scene.partner.status = 503
    await scene.put("out", n=2)
    await scene.agent.until(lambda: 503 in scene.partner.answered)
    scene.partner.status = 200
    await scene.agent.until(lambda: {one["n"] for one in scene.partner.got} == {1, 2})


@pytest.mark.parametrize("scene", ["1s"], indirect=True)
async def test_one_that_stays_away_too_long_makes_dead_letters(scene: Scene) -> None:
    await scene.put("out", n=1)
    await scene.agent.until(lambda: "dead" in scene.outcomes("out"))


async def test_a_refusal_is_a_dead_letter_at_once(scene: Scene) -> None:
    await scene.partner.start()
    scene.partner.status = 422
    await scene.put("out", n=1)
    await scene.agent.until(lambda: scene.outcomes("out") == ["dead"])
