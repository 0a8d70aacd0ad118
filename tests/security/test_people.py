"""What people may say on the bus, and what they and workers may not, tried on a real broker with real certificates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from arint.bus import streams
from arint.bus.connection import Bus
from arint.errors import ArintError, DeniedError
from arint.home import Home, write_private
from arint.runtime.control import BusSettings
from arint.security.ca import load_ca
from arint.security.users import make_request, sign
from tests.servers import NatsServer


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, pki: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("broker"), tls=True, pki=pki, people=("alice", "bob"))
    for name in ("alice", "bob", "carol"):
        key, request = make_request(name)
        write_private(server.home.pki / f"{name}.key", key.encode())
        authority = load_ca(server.home.pki, "cluster-ca")
        write_private(server.home.pki / f"{name}.pem", sign(authority, name, request, 1).pem.encode())
    server.start()
    yield server
    server.close()


@asynccontextmanager
async def speaking(broker: NatsServer, name: str, inbox: str = "") -> AsyncIterator[Bus]:
    bus = Bus(name, inbox=inbox) if inbox else Bus(name)
    await bus.open(BusSettings((broker.server,), *Home(broker.home.path).identity(name)), timeout=3.0)
    try:
        yield bus
    finally:
        await bus.close()


async def heard(broker: NatsServer, speaker: str, subject: str, listener: str = "admin") -> bool:
    """Whether what `speaker` publishes reaches `listener`."""
    inbox = f"reply.{speaker}.x" if speaker in ("alice", "bob") else ""
    async with speaking(broker, listener) as ear, speaking(broker, speaker, inbox) as bus:
        found: list[str] = []
        ear.wire.listen(subject, "", lambda *_: found.append(subject))
        ear.wire.flush_now()
        await ear.wire.flush()
        bus.publish(subject, b"x")
        bus.wire.flush_now()
        await bus.wire.flush()  # the broker has seen it
        await ear.wire.flush()  # and has told the listener, if it does
        return bool(found)


@pytest.mark.parametrize(("speaker", "subject", "may"), [
    ("worker", "t.topic", True), ("worker", "rpc.price", True), ("worker", "admin.alice.secrets-set_secret", False),
    ("worker", "reply.alice.x.1", False), ("worker", "audit.alice.c.done", False), ("agent", "admin.alice.x-y", False),
    ("admin", "reply.alice.x.1", True), ("alice", "admin.alice.nodes-cordon", True),
    ("alice", "admin.bob.nodes-cordon", False), ("alice", "t.topic", False), ("alice", "m.a.b.0.f.start", False),
    ("alice", "reply.bob.x.1", False), ("alice", "$JS.API.STREAM.DELETE.AUDIT", False),
])
async def test_who_may_say_what(broker: NatsServer, speaker: str, subject: str, *, may: bool) -> None:
    assert await heard(broker, speaker, subject) is may


async def test_a_worker_hears_nothing_of_the_administration(broker: NatsServer) -> None:
    assert await heard(broker, "admin", "t.topic", listener="worker")
    for subject in ("admin.alice.secrets-set_secret", "reply.alice.x.1", "audit.alice.c.done"):
        assert not await heard(broker, "admin", subject, listener="worker")


async def test_a_worker_makes_streams_and_leaves_the_audit_alone(broker: NatsServer) -> None:
    async with speaking(broker, "admin") as admin, speaking(broker, "worker") as worker:
        await streams.ensure(admin, streams.audit_config(1))
        await streams.ensure_core(worker)
        assert "DEAD" in await streams.names(worker)
        for verb in ("INFO", "UPDATE", "DELETE", "PURGE"):
            with pytest.raises((ArintError, TimeoutError)):
                await asyncio.wait_for(worker.request(f"$JS.API.STREAM.{verb}.AUDIT", b"{}", 0.5), 2.0)
        assert (await streams.state(admin, "AUDIT")).name == "AUDIT"


async def test_who_is_not_listed_is_not_let_in(broker: NatsServer) -> None:
    with pytest.raises(DeniedError, match="does not let this certificate in"):
        async with speaking(broker, "carol", "reply.carol.x"):
            pass
