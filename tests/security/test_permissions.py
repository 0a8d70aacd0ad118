"""What each role may do works, and what it must not do is refused, by a real etcd and a real broker."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aetcd import rpc

from arint.artifacts import store
from arint.bus import api, streams, subjects
from arint.bus.connection import Bus, Request
from arint.engines.nats import Known, nats_config
from arint.errors import ArintError, DeniedError, NotFoundError
from arint.home import Home, Pem
from arint.operations.probe import pass_a_message
from arint.runtime.control import BusSettings
from arint.security import permissions
from arint.security.ca import ensure_pki, issue
from arint.store import access
from arint.store.connection import Etcd, Tls
from arint.store.keys import Keys
from arint.store.lease import Lease
from arint.store.members import Members
from arint.store.transactions import absent, get, put
from arint.store.view import View
from tests.servers import EtcdServer, NatsServer

KEYS = Keys("test")
SENTINEL = "sentinel"
_NUMBERS = itertools.count()
"""Subjects that nobody but the administrator may publish on: the broker says so after all that came before."""


@asynccontextmanager
async def as_(server: EtcdServer, identity: str) -> AsyncIterator[Etcd]:
    async with Etcd([server.endpoint], Tls(*server.home.identity(identity))) as etcd:
        yield etcd


@pytest.fixture
async def etcd(etcd_tls_server: EtcdServer) -> EtcdServer:
    async with as_(etcd_tls_server, "etcd-admin") as admin:
        assert await access.permit(admin, "test", "n1")
        assert not await access.permit(admin, "test", "n1")
    return etcd_tls_server


async def test_an_agent_does_its_work_in_etcd(etcd: EtcdServer) -> None:
    async with as_(etcd, "etcd-agent") as agent, Lease(agent) as lease:
        for key in (KEYS.node("n1"), KEYS.assignment("n1", "a-1"), KEYS.rollout("a")):
            assert (await agent.txn([absent(key)], [put(key, b"1")], [get(key)])).succeeded
        for key in (KEYS.alive("n1"), KEYS.instance("a", "a-1"), KEYS.owner("a"), KEYS.election_prefix("p") + "x"):
            await agent.put(key, b"1", lease.id)
            await agent.delete(key)
        await agent.get(KEYS.head)
        await agent.range(KEYS.shared)
        await agent.range(KEYS.secrets_prefix)
        await etcd.ask()
        assert lease.held


FORBIDDEN: dict[str, Callable[[Etcd], Awaitable[object]]] = {
    "put another configuration in force": lambda agent: agent.put(KEYS.head, b"1"),
    "do so in a transaction": lambda agent: agent.txn([], [put(KEYS.head, b"1")]),
    "write a change set": lambda agent: agent.put(KEYS.change_set(1), b"1"),
    "write a resource": lambda agent: agent.put(KEYS.resource("Flow/a", "r"), b"1"),
    "set a secret": lambda agent: agent.put(KEYS.secret("a", "d"), b"1"),
    "delete secrets": lambda agent: agent.delete_prefix(KEYS.secrets_prefix),
    "read the roles of users": lambda agent: agent.range(KEYS.users_prefix),
    "read the audit": lambda agent: agent.get(KEYS.audit_head("log")),
    "make a user of the bus": lambda agent: agent.put(KEYS.known_user("eve"), b""),
    "read another cluster": lambda agent: agent.range("/arint/other/z/"),
    "read everything": lambda agent: agent.range("/"),
    "delete everything": lambda agent: agent.delete_prefix("/"),
    "let others in": lambda agent: access.admit_node(agent, "test", "n2"),
    "shut others out": lambda agent: access.dismiss_node(agent, "n1"),
    "see who is let in": access.users,
    "change whom the cluster trusts": lambda agent: agent.put(KEYS.certificates_wanted, b"{}"),
    "read the key of a new CA": lambda agent: agent.get(KEYS.ca_key("etcd-ca")),
    "let in who was revoked": lambda agent: agent.delete(KEYS.revoked("node", "n2")),
    "read who was revoked": lambda agent: agent.range(KEYS.revoked_prefix),
    "add a member": lambda agent: Members(agent).add("https://127.0.0.1:1"),
    "rewrite its database": lambda agent: agent.call(lambda one, timeout: one.maintenance.Defragment(
        rpc.DefragmentRequest(), timeout=timeout), write=True),
}


@pytest.mark.parametrize("what", FORBIDDEN)
async def test_an_agent_may_not(etcd: EtcdServer, what: str) -> None:
    async with as_(etcd, "etcd-agent") as agent:
        with pytest.raises(DeniedError):
            await FORBIDDEN[what](agent)


async def test_a_stranger_of_the_ca_may_nothing(etcd: EtcdServer) -> None:
    """Such as what was let in before the node was removed."""
    async with as_(etcd, "etcd-admin") as admin:
        await access.admit_node(admin, "test", "n2", server=True)
        issue(etcd.home.pki, "etcd-ca", "etcd-agent@n2", etcd.home.pki, "n2")
        pem = Tls(etcd.home.identity("etcd-agent").ca, str(etcd.home.pki / "n2.pem"), str(etcd.home.pki / "n2.key"))
        async with Etcd([etcd.endpoint], pem, timeout=1.0) as second:
            await second.get(KEYS.head)
            assert await access.dismiss_node(admin, "n2")
            assert not await access.dismiss_node(admin, "n2")
            with pytest.raises(ArintError):
                await second.get(KEYS.head)
        assert await access.users(admin) == ["etcd-admin@n1", "etcd-agent@n1", "root"]


async def test_a_watch_outlives_its_user(etcd: EtcdServer) -> None:
    """Why etcd is started anew where somebody is revoked: what they watch they would see for ever."""
    async with as_(etcd, "etcd-admin") as admin, as_(etcd, "etcd-agent") as agent, \
            View(agent, KEYS.head, bytes) as view:
        await access.dismiss_node(admin, "n2")
        await admin.put(KEYS.head, b"1")
        await view.wait_changed(0)
        issue(etcd.home.pki, "etcd-ca", "root", etcd.home.pki, "root")
        async with Etcd([etcd.endpoint], Tls(etcd.home.identity("etcd-admin").ca, str(etcd.home.pki / "root.pem"),
                                             str(etcd.home.pki / "root.key"))) as root:
            await access.dismiss_node(root, "n1")
            with pytest.raises(DeniedError):
                await agent.get(KEYS.head)
            await root.put(KEYS.head, b"2")
            async with asyncio.timeout(10):
                while view.snapshot.get("") != b"2":
                    await view.wait_changed()


@asynccontextmanager
async def bus_as(server: NatsServer, pem: Pem | None) -> AsyncIterator[Bus]:
    assert pem is not None
    async with await Bus.connect(BusSettings((server.server,), *pem), name="test", timeout=3.0) as bus:
        yield bus


async def test_a_worker_does_its_work_on_the_bus(nats_tls_server: NatsServer) -> None:
    async with bus_as(nats_tls_server, nats_tls_server.pem("worker")) as worker:
        await pass_a_message(worker)
        assert await streams.ensure_flow(worker, "orders") == "F-orders"
        await streams.ensure_consumer(worker, "orders", "s1")
        await streams.reset_consumer(worker, "orders", "s1")
        await streams.ensure(worker, streams.bodies_config("orders", 1))
        await api.call(worker, "STREAM.PURGE.F-orders", {})
        await streams.delete_consumer(worker, "orders", "s1")
        await streams.delete_stream(worker, "B-orders")
        assert "F-orders" in await streams.names(worker)

        answered = await worker.subscribe("rpc.price", "q", _answer)
        assert (await worker.request("rpc.price", b"1", timeout=2.0)).body == b"yes"
        await answered.close()


async def test_the_administrator_may_do_all(nats_tls_server: NatsServer) -> None:
    async with bus_as(nats_tls_server, nats_tls_server.pem("admin")) as admin:
        await pass_a_message(admin)
        await streams.delete_stream(admin, subjects.LEDGER)


async def test_the_agent_asks_and_no_more(nats_tls_server: NatsServer) -> None:
    async with bus_as(nats_tls_server, nats_tls_server.pem("admin")) as admin, \
            bus_as(nats_tls_server, nats_tls_server.pem("agent")) as agent:
        await streams.ensure_core(admin)
        await api.call(agent, "INFO")
        for verb in ("STREAM.DELETE.DEAD", "STREAM.PURGE.F-a", "STREAM.CREATE.X", "CONSUMER.LIST.DEAD"):
            assert await refused(agent, f"$JS.API.{verb}")
        assert await refused(agent, "rpc.price")
        assert not await refused(agent, permissions.renewal_subject("n1"))
        assert await refused(agent, permissions.renewal_subject("n2"))  # it would be given another node's certificates


async def test_servers_give_code_and_agents_read_it(nats_tls_server: NatsServer) -> None:
    piece = store.Piece("code", "ab" * 32, 4, lambda: io.BytesIO(b"code"))
    async with bus_as(nats_tls_server, nats_tls_server.pem("admin")) as admin, \
            bus_as(nats_tls_server, nats_tls_server.pem("agent")) as agent:
        with pytest.raises(NotFoundError):
            await store.fetch(agent, *piece.key, len)
        await store.put(admin, [piece])
        found = bytearray()
        await store.fetch(agent, *piece.key, found.extend)
        assert found == b"code"
        assert piece.key in await store.kept(agent)
        for subject in (subjects.kept(*piece.key), *(f"$JS.API.STREAM.{verb}.CODE" for verb in (
                "UPDATE", "DELETE", "PURGE", "MSG.DELETE", "SNAPSHOT", "PEER.REMOVE"))):
            assert await refused(agent, subject)


WORKER_MAY_NOT = (
    "$JS.API.STREAM.DELETE.AUDIT", "$JS.API.STREAM.PURGE.AUDIT", "$JS.API.STREAM.UPDATE.AUDIT",
    "$JS.API.STREAM.MSG.DELETE.AUDIT", "$JS.API.STREAM.MSG.GET.AUDIT", "$JS.API.CONSUMER.CREATE.AUDIT.x.a",
    "$JS.API.STREAM.DELETE.DEAD", "$JS.API.STREAM.DELETE.ACTIONS", "$JS.API.STREAM.SNAPSHOT.LEDGER",
    "$JS.API.STREAM.PURGE.CODE", "$JS.API.STREAM.DELETE.CODE", "$JS.API.STREAM.UPDATE.CODE", "c.code.x",
    "$JS.API.STREAM.MSG.DELETE.CODE", "$JS.API.STREAM.MSG.GET.CODE", "$JS.API.DIRECT.GET.CODE",
    "$JS.API.DIRECT.GET.CODE.c.code.x", "$JS.API.CONSUMER.CREATE.CODE.x.c",
    "$JS.API.SERVER.REMOVE", "$JS.API.META.LEADER.STEPDOWN",
    "$JS.API.ACCOUNT.PURGE.$G", "$SYS.REQ.SERVER.PING", "admin.ann.apply", "reply.ann.x",
    "renew.n1",
)


@pytest.mark.parametrize("subject", WORKER_MAY_NOT)
async def test_a_worker_may_not_publish(nats_tls_server: NatsServer, subject: str) -> None:
    async with bus_as(nats_tls_server, nats_tls_server.pem("worker")) as worker:
        assert await refused(worker, subject)


@pytest.mark.parametrize("subject", [">", "admin.>", "reply.>", "$SYS.>", "$JS.API.>", "m.>"])
async def test_a_worker_may_not_listen(nats_tls_server: NatsServer, subject: str) -> None:
    async with bus_as(nats_tls_server, nats_tls_server.pem("worker")) as worker:
        assert await _violates(worker, lambda: worker.wire.listen(subject, "", lambda *_: None))


async def test_the_broker_forgets_whom_it_shall(nats_tls_server: NatsServer, tmp_path: Path) -> None:
    """A user is let in by a reload and cut off by the next, and nobody else notices."""
    server, home = nats_tls_server, nats_tls_server.home
    issue(home.pki, "cluster-ca", permissions.common_name_of("ann"), home.pki, "ann")
    pem = Pem(home.identity("worker").ca, str(home.pki / "ann.pem"), str(home.pki / "ann.key"))
    async with bus_as(server, server.pem("worker")) as worker:
        with pytest.raises(ArintError):
            async with bus_as(server, pem):
                pass
        downs: list[int] = []
        worker.on_down.add(lambda: downs.append(1))
        server.reload(nats_config(home, server.config, max_file_store=4 * 1024**3, known=Known(users=("ann",))))
        async with bus_as(server, pem) as ann:
            assert await refused(ann, "admin.bob.apply")
            assert await refused(ann, "$JS.API.INFO")
            assert not await refused(ann, "admin.ann.apply")
            server.reload(nats_config(home, server.config, max_file_store=4 * 1024**3))
            async with asyncio.timeout(5):
                while ann.connected:
                    await asyncio.sleep(0.02)
        await api.call(worker, "INFO")
        assert not downs


async def refused(bus: Bus, subject: str) -> bool:
    return await _violates(bus, lambda: bus.publish(subject, b"{}"))


async def _violates(bus: Bus, do: Callable[[], object]) -> bool:
    """Whether the broker says that this may not be done."""
    said: asyncio.Queue[str] = asyncio.Queue()
    before = bus.wire._error_cb

    async def hear(error: Exception) -> None:
        said.put_nowait(str(error))

    bus.wire._error_cb = hear  # the client has no other way to hear of it
    try:
        sentinel = f"{SENTINEL}.{next(_NUMBERS)}"
        do()
        bus.publish(sentinel, b"")
        heard = []
        async with asyncio.timeout(10):
            while sentinel not in (last := (await said.get()).lower()):
                heard.append(last)
        return any(SENTINEL not in one for one in heard)  # what an earlier one was still told does not count
    finally:
        bus.wire._error_cb = before


async def _answer(request: Request) -> None:
    request.respond(b"yes")


def test_a_home_without_a_node_has_bare_names(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    ensure_pki(home)
    assert permissions.identity_on("worker", "") == "worker"
    assert permissions.identity_on("worker", "n1") == "worker@n1"
    assert not permissions.common_name_of("n1").startswith("admin@")
