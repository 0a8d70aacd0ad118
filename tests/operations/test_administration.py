"""Operations over the bus: who may, what is audited, what comes back; with real engines, and a service in the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from arint.administration import frames, registry, service
from arint.administration.audit import Audit, check, told
from arint.administration.registry import administrative
from arint.administration.remote import Access, RemoteLink
from arint.administration.service import Service
from arint.errors import (
    ArintError,
    ConflictError,
    DeniedError,
    NobodyError,
    NotFoundError,
    NotValidError,
    UnreachableError,
    UsageError,
)
from arint.home import Home, write_private
from arint.operations.audit import AuditFilter, list_audit, show_audit, verify_audit
from arint.operations.configuration import ApplyArguments, apply
from arint.operations.connect import Link
from arint.operations.history import history
from arint.operations.messages import story_of
from arint.operations.progress import Progress, Step, silent
from arint.operations.secrets import list_secrets, set_secret
from arint.operations.users import add_user, list_users, remove_user, show_user
from arint.security.users import make_request


@pytest.fixture
async def serving(home: Home, flow: str) -> AsyncIterator[Service]:
    async with Link(home) as link:
        one = Service(link)
        await one.start()
        try:
            yield one
        finally:
            await one.stop(1.0)


@pytest.fixture
def as_user(link: Link, tmp_path: Path) -> Callable[..., object]:
    """`async with as_user("alice", "viewer") as remote`: a user with a certificate, on a machine without a home."""

    @asynccontextmanager
    async def enter(name: str, role: registry.Role, *, read_only: bool = False) -> AsyncIterator[RemoteLink]:
        key, request = make_request(name)
        known = name in {user.name for user in await list_users(link)}
        issued = await add_user(link, name, role, request, renew=known)
        paths = {}
        for part, text in (("ca", issued.ca), ("certificate", issued.certificate), ("key", key)):
            path = tmp_path / f"{name}-{part}.pem"
            write_private(path, text.encode())
            paths[part] = str(path)
        access = Access(cluster=issued.cluster, user=name, servers=issued.servers, read_only=read_only, **paths)
        async with RemoteLink(access) as remote:
            yield remote

    return enter


def extra(monkeypatch: pytest.MonkeyPatch, function: Callable[..., object]) -> None:
    """Put an operation of the test beside the real ones."""
    real = registry.find
    operation = function.operation  # type: ignore[attr-defined]
    monkeypatch.setattr(service, "find", lambda name: operation if name == operation.name else real(name))


async def test_a_viewer_reads_and_may_not_change(serving: Service, as_user, link: Link) -> None:
    async with as_user("vera", "viewer") as remote:
        assert await history(remote) == await history(link)
        assert "vera" in [user.name for user in await list_users(remote)]
        with pytest.raises(NotFoundError, match="nothing is known of this message"):
            await story_of(remote, "01JD0W7Y3F0S8Q6Z4K2M5N7P9R")
        with pytest.raises(DeniedError, match="needs the role administrator; vera is a viewer"):
            await set_secret(remote, "token", b"never", wait=False)
        with pytest.raises(DeniedError):
            await list_audit(remote, AuditFilter())
    [newest, *_] = await list_audit(link, AuditFilter(user="vera", operation="set_secret"))
    assert (newest.outcome, newest.via) == ("denied", "bus")
    assert newest.arguments["value"] == "(5 bytes)"


async def test_an_administrator_changes_and_the_audit_tells(serving: Service, as_user, link: Link) -> None:
    async with as_user("ada", "administrator") as remote:
        applied = await set_secret(remote, "crm", b"hunter2", wait=False)
        assert [secret.by for secret in await list_secrets(remote) if secret.name == "crm"] == ["ada"]
        [entry, *_] = await list_audit(remote, AuditFilter(user="ada", operation="set_secret"))
    assert (entry.operation, entry.outcome, entry.role) == ("secrets-set_secret", "done", "administrator")
    assert entry.change_set == applied.change_set > 0
    assert entry.took > 0
    assert b"hunter2" not in msgspec.json.encode(await show_audit(link, entry.call))
    assert (await verify_audit(link)).problems == ()


async def test_what_is_done_on_a_home_is_audited_too(link: Link, flow: str) -> None:
    await set_secret(link, "by-hand", b"x" * 10, wait=False)
    [entry, *_] = await list_audit(link, AuditFilter(operation="set_secret"))
    assert (entry.via, entry.outcome) == ("home", "done")


async def test_an_apply_is_audited_and_never_travels(link: Link, as_user, serving: Service, tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text("kind: Flow\nname: audited\nsteps: [{log: hello}]\n")
    arguments = ApplyArguments(paths=(tmp_path / "flow.yaml",), wait=False)
    applied = await apply(link, arguments)
    [entry, *_] = await list_audit(link, AuditFilter(operation="apply"))
    assert (entry.via, entry.outcome, entry.change_set) == ("home", "done", applied.change_set)
    async with as_user("ada", "administrator") as remote:
        with pytest.raises(UsageError, match="on a server's own home"):
            await apply(remote, arguments)
    with pytest.raises(NotFoundError):
        registry.find("configuration-apply")


async def test_an_operator_is_no_administrator(serving: Service, as_user) -> None:
    from arint.operations.dead import drop_dead, replay_dead

    async with as_user("otto", "operator") as remote:
        with pytest.raises(NotFoundError):  # allowed, and there is none
            await replay_dead(remote, "01JD0W7Y3F0S8Q6Z4K2M5N7P9R")
        with pytest.raises(DeniedError):
            await drop_dead(remote, "01JD0W7Y3F0S8Q6Z4K2M5N7P9R")


async def test_a_context_for_reading_only(serving: Service, as_user) -> None:
    async with as_user("rosa", "administrator", read_only=True) as remote:
        await list_users(remote)
        with pytest.raises(DeniedError, match="for reading only"):
            await remove_user(remote, "rosa")


async def test_a_user_who_was_removed_may_nothing(serving: Service, as_user, link: Link) -> None:
    async with as_user("gone", "administrator") as remote:
        assert (await show_user(remote, "gone")).role == "administrator"
        await remove_user(link, "gone")
        with pytest.raises(DeniedError, match="no user 'gone'"):
            await list_users(remote)


async def test_a_user_is_made_once(link: Link, flow: str) -> None:
    _, request = make_request("twice")
    await add_user(link, "twice", "viewer", request)
    with pytest.raises(ConflictError, match="--renew"):
        await add_user(link, "twice", "viewer", request)
    with pytest.raises(NotValidError):
        await add_user(link, "a.b", "viewer", request)
    with pytest.raises(NotValidError, match="cannot be read"):
        await add_user(link, "bad", "viewer", "nonsense")


async def test_nobody_listens(as_user, flow: str) -> None:
    async with as_user("early", "viewer") as remote:
        with pytest.raises(NobodyError, match="no administration service"):
            await list_users(remote)


async def test_what_is_for_the_node_says_so(serving: Service, as_user) -> None:
    async with as_user("ada", "administrator") as remote:
        with pytest.raises(UsageError, match="own home"):
            await remote.bus()
        with pytest.raises(UsageError, match="own home"):
            _ = remote.config


@administrative("viewer")
async def counting(link: Link, up_to: int) -> AsyncIterator[bytes]:
    for number in range(up_to):
        yield number.to_bytes(4) * 1000


@administrative("viewer")
async def large(link: Link, size: int, progress: Progress = silent) -> bytes:
    progress(Step("making it"))
    return b"x" * size


class Sleeper:
    """What the operation `lasting` tells the test."""

    began: asyncio.Event
    ended: asyncio.Event

    def renew(self) -> None:
        self.began, self.ended = asyncio.Event(), asyncio.Event()


sleeper = Sleeper()


@administrative("operator")
async def lasting(link: Link) -> None:
    sleeper.began.set()
    try:
        await asyncio.sleep(60)
    finally:
        sleeper.ended.set()


async def test_streams_and_large_results(serving: Service, as_user, monkeypatch: pytest.MonkeyPatch) -> None:
    async with as_user("vera", "viewer") as remote:
        extra(monkeypatch, counting)
        numbers = [int.from_bytes(item[:4]) async for item in counting(remote, 500)]
        assert numbers == list(range(500))
        extra(monkeypatch, large)
        said: list[Step] = []
        size = 5 * frames.PART + 7
        assert await large(remote, size, said.append) == b"x" * size
        assert said == [Step("making it")]


async def test_a_caller_who_goes_away_is_not_worked_for(serving: Service, as_user, link: Link,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    extra(monkeypatch, lasting)
    async with as_user("otto", "operator") as remote:
        sleeper.renew()
        call = asyncio.create_task(lasting(remote))
        await asyncio.wait_for(sleeper.began.wait(), 5)
        call.cancel()
        await asyncio.wait_for(sleeper.ended.wait(), 5)
    async with asyncio.timeout(5):
        while (await list_audit(link, AuditFilter(user="otto", operation="lasting")))[0].outcome != "cancelled":
            await asyncio.sleep(0.02)


async def test_an_answer_is_never_sent_elsewhere(serving: Service, as_user, link: Link) -> None:
    bus = await link.bus()
    caught: list[bytes] = []
    spied = bus.expect(lambda subject, reply, body, header: caught.append(body))
    async with as_user("vera", "viewer") as remote:
        asked = frames.encode(frames.Asked(msgspec.Raw(frames.encode({}))))
        bus.publish(frames.call_subject("vera", "users-list_users"), asked, reply=spied)
        await list_users(remote)  # what came before it was looked at
    assert caught == []


async def test_the_chain_holds_when_many_write_and_tells_what_is_missing(link: Link, flow: str) -> None:
    from arint.administration.audit import Record

    audit = Audit(await link.bus(), await link.etcd(), link.config.cluster)
    await audit.ensure()
    await asyncio.gather(*(audit.append(Record(call=f"c{number}", at=0.0, user="many", operation="x", outcome="done"))
                           for number in range(8)))
    assert (await audit.verify()).problems == ()
    from arint.bus import lookup

    found = [(one.sequence, one.body) for one in await lookup.look_up(await link.bus(), "AUDIT", "audit.>")]
    head = await audit.head()
    assert "missing" in check(found[:-1], head).problems[0]
    assert "missing" in check([*found[:2], *found[3:]], head).problems[0]
    changed = [(number, body.replace(b"many", b"none")) for number, body in found]
    assert any("changed" in problem for problem in check(changed, head).problems)
    from arint.bus import api

    for verb, arguments in (("STREAM.PURGE.AUDIT", None), ("STREAM.MSG.DELETE.AUDIT", {"seq": found[0][0]})):
        with pytest.raises(ArintError):
            await api.call(await link.bus(), verb, arguments)


def test_arguments_are_told_without_secrets() -> None:
    assert told({"password": "x", "value": b"abc", "name": "n" * 1000, "nested": {"api_key": "k", "ok": [1, 2]}}) == {
        "password": "***", "value": "(3 bytes)", "name": "n" * 300 + "…", "nested": {"api_key": "***", "ok": [1, 2]}}


def test_every_operation_can_travel() -> None:
    """Arguments and results of all that are registered have types that msgspec knows."""
    import importlib
    import pkgutil

    import arint.operations

    found = {}
    for module in pkgutil.iter_modules(arint.operations.__path__):
        loaded = importlib.import_module(f"arint.operations.{module.name}")
        for value in vars(loaded).values():
            operation = getattr(value, "operation", None)
            if isinstance(operation, registry.Operation) and operation.function.__module__ == loaded.__name__:
                msgspec.msgpack.Decoder(operation.arguments)
                msgspec.msgpack.Decoder(operation.result)
                assert registry.find(operation.name) is operation
                found[operation.name] = operation.role
    assert found["configuration-rollback"] == "administrator"
    assert {"logs-read", "overview"} & {name for name, role in found.items() if role == "viewer"}
    for name in ("history", "history-_summary", "os-system", "connect-Link", "..-x"):
        with pytest.raises(NotFoundError):
            registry.find(name)


async def test_a_service_that_dies_is_noticed(as_user, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "SILENCE", 1.5)
    extra(monkeypatch, lasting)
    link = Link(home)
    one = Service(link)
    await one.start()
    sleeper.renew()
    async with as_user("otto", "operator") as remote:
        call = asyncio.create_task(lasting(remote))
        await asyncio.wait_for(sleeper.began.wait(), 5)
        bus = await link.bus()
        monkeypatch.setattr(bus, "publish", lambda *_, **__: None)  # as a process that was killed
        with pytest.raises(UnreachableError, match="audit list"):
            await call
    await one.stop(0.0)
    await link.__aexit__()
