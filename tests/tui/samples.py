"""Fixed data for the console's tests and for the pictures in the documentation."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator

import msgspec

from arint.errors import UnreachableError
from arint.operations.agent import AgentStatus, EngineStatus, InstanceStatus
from arint.operations.overview import Overview, overview_of
from arint.operations.standing import standing_of

NOON = 1_780_000_000.0
HOSTILE = "[red]evil[/red]\x1b]0;owned\x07\x1b[2J\n\t\u202egnp"


def status(second: int = 0) -> AgentStatus:
    """A cluster under load, so many seconds after noon; its second system has just gone away."""
    done = sum(900 + int(500 * math.sin(moment / 7)) for moment in range(second))
    memory = 2**20
    return AgentStatus(
        node="box-1", cluster="local", pid=4101, version="0.1.0", ready=True, change_set=12, started=NOON - 7200,
        memory=41 * memory,
        engines=(EngineStatus("etcd", 4110, "3.6.5", True, 0, NOON - 7199, 62 * memory),
                 EngineStatus("nats", 4111, "2.12.1", True, 1, NOON - 840, 48 * memory)),
        instances=(
            _worker("approve-1", "approve", 4120, processed=done // 6),
            _worker("price-1", "price", 4121, processed=done // 2, failed=second // 9, dead=second // 30),
            _worker("price-2", "price", 4122, processed=done // 2),
            InstanceStatus("report-1", "report", "service", "box-1", "failed", change_set=12, restarts=3,
                           error="Traceback (most recent call last):\nModuleNotFoundError: No module named 'babel'"),
            _worker("http-1", "system/http", 4123, role="source", accepted=done),
            _worker("runner-1", "system/runner", 4124, role="runner", processed=done * 3, in_flight=24,
                    circuits={"partner": NOON + 20} if second >= 20 else {}),
        ))


def _worker(name: str, service: str, pid: int, *, role: str = "service", processed: int = 0, failed: int = 0,
            dead: int = 0, accepted: int = 0, in_flight: int = 3,
            circuits: dict[str, float] | None = None) -> InstanceStatus:
    return InstanceStatus(
        instance=name, service=service, role=role, node="box-1", state="ready", version="a1b2c3", change_set=12,
        pid=pid, started=NOON - 3600, memory=58 * 2**20, processed=processed, failed=failed, dead=dead,
        accepted=accepted, in_flight=in_flight, circuits=circuits or {})


def story(seconds: int = 45) -> Iterator[Overview]:
    """One overview a second."""
    before: Overview | None = None
    for second in range(seconds):
        standing = msgspec.structs.replace(standing_of(status(second)), dead_letters=second // 20)
        before = overview_of(standing, before, at=NOON + second, elapsed=1.0)
        yield before


def hostile() -> Overview:
    """Every text that comes from outside tries to steer the terminal."""
    seen = status(30)
    instances = tuple(msgspec.structs.replace(one, instance=f"{number}{HOSTILE}", service=HOSTILE, node=HOSTILE,
                                              state="failed", error=f"Traceback\n{HOSTILE}", circuits={HOSTILE: NOON})
                      for number, one in enumerate(seen.instances))
    engines = tuple(msgspec.structs.replace(one, version=HOSTILE, ready=False, error=HOSTILE) for one in seen.engines)
    told = msgspec.structs.replace(seen, node=HOSTILE, cluster=HOSTILE, error=HOSTILE, instances=instances,
                                   engines=engines)
    return overview_of(standing_of(told), at=NOON + 30)


class FakeSource:
    """Tells what it is given; while `away`, nobody answers. It counts its followers: none must be left."""

    def __init__(self, *overviews: Overview) -> None:
        self.away = ""
        self.followers = 0
        self.calls = 0
        self._waiting: asyncio.Queue[Overview | None] = asyncio.Queue()
        for overview in overviews:
            self._waiting.put_nowait(overview)

    def tell(self, *overviews: Overview) -> None:
        """What comes next."""
        for overview in overviews:
            self._waiting.put_nowait(overview)

    def hang_up(self, why: str) -> None:
        """The agent goes away."""
        self.away = why
        self._waiting.put_nowait(None)

    async def follow(self) -> AsyncIterator[Overview]:
        """As a Source does."""
        self.calls += 1
        if self.away:
            raise UnreachableError(self.away, remedy="run: arintctl up")
        self.followers += 1
        try:
            while (overview := await self._waiting.get()) is not None:
                yield overview
        finally:
            self.followers -= 1
