"""Streams of a real cluster of three brokers, whose routes speak mTLS: copies follow the number of servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from arint.bus import api, replicas, streams
from arint.bus.committer import Committer
from arint.bus.connection import Bus
from arint.engines.nats import Routes, nats_config
from arint.ports import free_port
from arint.runtime.control import BusSettings
from tests.servers import NatsServer

_SYSTEM = {"accounts": {"SYS": {"users": [{"user": "system", "password": "test"}]},
                        "APP": {"jetstream": "enabled", "users": [{"user": "app", "password": "test"}]}},
           "system_account": "SYS", "no_auth_user": "app"}


@pytest.fixture
def brokers(tmp_path: Path, pki: Path) -> Iterator[list[NatsServer]]:
    """Three that were begun together, not yet started."""
    found = [NatsServer(tmp_path / f"n{number}", pki=pki) for number in (1, 2, 3)]
    ports: list[int] = []
    for _ in found:
        ports.append(free_port(avoid=[*ports, *(one.port for one in found)]))
    for number, one in enumerate(found):
        routes = Routes("test", ports[number], tuple(f"127.0.0.1:{port}" for port in ports if port != ports[number]))
        config: dict[str, Any] = nats_config(one.home, one.config, max_file_store=4 * 2**30, routes=routes)
        del config["tls"]  # of clients; routes keep theirs
        one.configure(config | _SYSTEM | {"server_name": f"n{number + 1}"})
    try:
        for one in found:
            one.start(wait=False)
        yield found
    finally:
        for one in found:
            one.close()


@pytest.fixture
async def cluster_bus(brokers: list[NatsServer]) -> AsyncIterator[Bus]:
    for one in brokers:
        await one.wait_ready()
    settings = BusSettings(tuple(one.server for one in brokers), "", "", "")
    async with await Bus.connect(settings, name="test") as bus:
        yield bus


async def test_copies_follow_the_servers_and_nothing_is_lost(brokers: list[NatsServer], cluster_bus: Bus,
                                                            until: Callable[..., Any]):
    bus = cluster_bus
    await streams.ensure_flow(bus, "orders", max_bytes=2**20)
    await streams.ensure_consumer(bus, "orders", "start")
    committer = Committer(bus, "F-orders")
    for number in range(20):
        await committer.store(f"m.{number}.a.0.orders.start", b"x", {})
    assert await replicas.keep_in(bus, 3) == ["F-orders"]
    assert await replicas.keep_in(bus, 3) == []
    found = await replicas.copies(bus, "F-orders")
    assert (found.wanted, set(found.current)) == (3, {"n1", "n2", "n3"})

    async def follows() -> bool:
        consumer = await api.call(bus, "CONSUMER.INFO.F-orders.start")
        return len(consumer.get("cluster", {}).get("replicas") or ()) == 2

    await until(follows)
    await streams.ensure_flow(bus, "orders", max_bytes=2**21)  # who declares it again does not take copies away
    assert (await replicas.copies(bus, "F-orders")).wanted == 3

    brokers[2].kill()
    await until(lambda: bus.connected)
    for number in range(20, 40):
        await committer.store(f"m.{number}.a.0.orders.start", b"x", {})
    system = BusSettings(tuple(one.server.replace("//", "//system:test@") for one in brokers[:2]), "", "", "")
    async with await Bus.connect(system, name="system") as administrator:
        await replicas.remove_peer(administrator, "n3")
        await replicas.remove_peer(administrator, "n3")
    assert await replicas.keep_in(bus, 1) == ["F-orders"]
    assert (await streams.state(bus, "F-orders")).messages == 40
    await committer.close()
