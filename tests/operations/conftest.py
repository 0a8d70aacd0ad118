"""A home beside real engines with mTLS, as an operation meets them; no agent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from arint.bus.streams import ensure_core, ensure_flow
from arint.home import Home
from arint.operations.connect import Link
from arint.security.sealing import Sealer
from tests.servers import EtcdServer, NatsServer

PEOPLE = ("ada", "alice", "early", "gone", "otto", "rosa", "vera")
"""Whom the broker lets in from the beginning, as an agent would have it do once they are made."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, pki: Path) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("operations") / "home"
    nats = NatsServer(folder, tls=True, pki=pki, people=PEOPLE)
    etcd = EtcdServer(folder, tls=True, pki=pki, config=nats.config)
    home = Home(folder)
    home.save(nats.config)
    Sealer.ensure(home)
    try:
        nats.start()
        etcd.start()
        yield home
    finally:
        nats.close()
        etcd.close()


@pytest.fixture
async def link(home: Home) -> AsyncIterator[Link]:
    async with Link(home) as link:
        yield link


@pytest.fixture
async def flow(link: Link) -> str:
    """The streams, and the one of a flow."""
    bus = await link.bus()
    await ensure_core(bus)
    await ensure_flow(bus, "orders", max_bytes=16 * 2**20)
    return "orders"
