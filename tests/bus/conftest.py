"""A connection to a real broker, and a way to wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from arint.bus.connection import Bus
from arint.runtime.control import BusSettings
from tests.patience import PATIENCE
from tests.servers import NatsServer


def settings_of(server: NatsServer) -> BusSettings:
    pem = server.pem()
    return BusSettings((server.server,), *(map(str, (pem.ca, pem.certificate, pem.key)) if pem else ("", "", "")))


async def _until(condition: Callable[[], bool | Awaitable[bool]], timeout: float = PATIENCE) -> None:
    async with asyncio.timeout(timeout):
        while True:
            result = condition()
            if result if isinstance(result, bool) else await result:
                return
            await asyncio.sleep(0.01)


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    return _until


@pytest.fixture
def settings() -> Callable[[NatsServer], BusSettings]:
    return settings_of


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[Bus]:
    async with await Bus.connect(settings_of(nats_server), name="test") as bus:
        yield bus
