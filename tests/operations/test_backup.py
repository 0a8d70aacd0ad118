"""Backup of real engines while they work, and its restore into a new home."""

from __future__ import annotations

import asyncio
import io
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from arint.artifacts import store as code_store
from arint.backup.archive import Reader
from arint.bus import keeper, lookup, streams
from arint.bus.connection import Bus
from arint.engines.etcd import Etcd as EtcdEngine
from arint.engines.nats import Nats
from arint.errors import ArintError, ConflictError, DeniedError, NotValidError
from arint.home import Home
from arint.operations import backup as backups
from arint.operations import restoring
from arint.operations.backup import backup, backups_in, in_order, verified
from arint.operations.connect import Link
from arint.operations.restoring import RestoreArguments, restore
from arint.store import snapshot as etcd_snapshot

PASSPHRASE = b"correct horse battery"


@asynccontextmanager
async def running(home: Home) -> AsyncIterator[Link]:
    """The engines of a restored home, without an agent."""
    config = home.load()
    engines = [EtcdEngine(home, config), Nats(home, config)]
    try:
        for engine in engines:
            engine.process.start()
        for engine in engines:
            await engine.wait_ready(20.0)
        async with Link(home) as link:
            yield link
    finally:
        for engine in reversed(engines):
            await engine.stop()


async def store(bus: Bus, first: int, last: int) -> None:
    for number in range(first, last + 1):
        bus.publish(f"m.r{number}.r{number}.0.orders.start", b'{"n":%d}' % number, reply="nobody.listens")
    deadline = asyncio.get_running_loop().time() + 20
    while (await streams.state(bus, "F-orders")).last < last:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


async def take(bus: Bus, count: int) -> list[tuple[str, str]]:
    """So many messages of the consumer, not acked: subject and where to ack."""
    found: list[tuple[str, str]] = []
    full = asyncio.Event()

    def got(subject: bytes, reply: bytes, body: bytes, header: bytes) -> None:
        if reply:
            found.append((subject.decode(), reply.decode()))
        if len(found) >= count:
            full.set()

    inbox = bus.new_inbox()
    number = bus.wire.listen(inbox, "", got)
    bus.publish("$JS.API.CONSUMER.MSG.NEXT.F-orders.start", b'{"batch":%d,"expires":10000000000}' % count, reply=inbox)
    async with asyncio.timeout(15):
        await full.wait()
    bus.wire.unlisten(number)
    return found


async def ack(bus: Bus, taken: list[tuple[str, str]]) -> None:
    for _, reply in taken:
        await bus.request(reply, b"+ACK")


def test_what_refers_is_copied_before_what_it_refers_to() -> None:
    names = ["TOPICS", "F-b", "B-a", "DEAD", "ACTIONS", "OBJ_x", "F-a", "LEDGER", "MARKS", "CALLS"]
    assert in_order(names) == ["DEAD", "LEDGER", "MARKS", "F-a", "F-b", "B-a", "OBJ_x", "ACTIONS", "CALLS", "TOPICS"]


async def test_a_backup_is_restored_with_what_was_and_was_not_done(link: Link, flow: str, tmp_path: Path) -> None:
    bus, etcd, home = await link.bus(), await link.etcd(), link.home
    await streams.ensure_consumer(bus, flow, "start")
    await store(bus, 1, 2000)
    taken = await take(bus, 100)
    await ack(bus, [one for number, one in enumerate(taken) if number % 2 == 0 or number < 20])
    await etcd.put("/arint/test/z/head", b"7")
    with sqlite3.connect(home.data / "internal.db") as database:
        database.execute("pragma journal_mode=wal")
        database.execute("create table t (n)")
        database.execute("insert into t values (42)")
    (home.data / "in").mkdir()
    (home.data / "plain").write_bytes(b"plain")
    (home.data / "link").symlink_to("plain")
    with sqlite3.connect(home.data / "internal.db") as writing:  # held open, with a log beside it
        writing.execute("insert into t values (43)")
        writing.commit()
        result = await backup(link, tmp_path, PASSPHRASE)
    file = Path(result.file)
    assert (file.stat().st_mode & 0o777, [file]) == (0o600, backups_in(tmp_path, "test"))
    assert b"PRIVATE KEY" not in file.read_bytes()
    with pytest.raises(ConflictError, match="exists"):
        await backup(link, file, PASSPHRASE)

    new = Home(tmp_path / "new")
    restored = await restore(new, file, PASSPHRASE, RestoreArguments())
    assert restored.repeating == ()
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []
    with sqlite3.connect(new.data / "internal.db") as database:
        assert database.execute("select n from t").fetchall() == [(42,), (43,)]
    assert (new.data / "link").readlink() == Path("plain")
    assert (new.data / "in").is_dir()
    assert (new.pki / "secrets.key").read_bytes() == (home.pki / "secrets.key").read_bytes()
    async with running(new) as there:
        found = await (await there.etcd()).get("/arint/test/z/head")
        assert found is not None
        assert found.value == b"7"
        bus = await there.bus()
        state = await streams.state(bus, "F-orders")
        assert (state.messages, state.last) == (2000, 2000)
        [consumer] = await keeper.consumers(bus, "F-orders")
        assert (consumer["ack_floor"]["stream_seq"], consumer["num_ack_pending"]) == (21, 40)
    with pytest.raises(ConflictError, match="home already"):
        await restore(new, file, PASSPHRASE, RestoreArguments())


async def test_code_comes_once_and_also_what_was_applied_while_the_backup_was_made(
        link: Link, flow: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bus, home = await link.bus(), link.home
    pieces = {name: code_store.Piece("code", name * 32, 4, partial(io.BytesIO, b"code")) for name in ("ab", "cd")}
    for folder in ("ab", "cd", "ef"):  # the last is of an earlier release: nowhere but in the home
        home.artifact(folder * 32).mkdir()
        (home.artifact(folder * 32) / "x.py").write_bytes(b"x")
    await code_store.put(bus, [pieces["ab"]])
    snapshot = etcd_snapshot.copy_out

    async def meanwhile(*arguments: Any) -> None:
        await code_store.put(bus, [pieces["cd"]])
        await (await link.etcd()).put("/arint/test/z/head", b"8")
        await snapshot(*arguments)

    monkeypatch.setattr(etcd_snapshot, "copy_out", meanwhile)
    result = await backup(link, tmp_path, PASSPHRASE)
    new = Home(tmp_path / "new")
    await restore(new, Path(result.file), PASSPHRASE, RestoreArguments())
    assert [one.name for one in new.artifacts.iterdir()] == ["ef" * 32]
    async with running(new) as there:
        found = await (await there.etcd()).get("/arint/test/z/head")
        assert found is not None and found.value == b"8"
        content = bytearray()
        for one in pieces.values():
            await code_store.fetch(await there.bus(), *one.key, content.extend)
        assert content == b"codecode"


async def test_what_was_acked_while_the_backup_was_made_comes_again(link: Link, flow: str, tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """Its result may be in a stream that had been copied before."""
    bus = await link.bus()
    await streams.ensure_consumer(bus, flow, "start")
    last = (await streams.state(bus, "F-orders")).last
    await store(bus, last + 1, last + 50)
    [before] = await keeper.consumers(bus, "F-orders")
    copy, names = backups.snapshots.copy_out, []

    async def busy(*arguments: object) -> object:
        if not names:
            await ack(bus, await take(bus, 30))
        names.append(arguments[1])
        return await copy(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(backups.snapshots, "copy_out", busy)
    file = Path((await backup(link, tmp_path, PASSPHRASE)).file)
    restored = await restore(new := Home(tmp_path / "new"), file, PASSPHRASE, RestoreArguments())
    assert restored.repeating == ("F-orders/start",)
    async with running(new) as there:
        [consumer] = await keeper.consumers(await there.bus(), "F-orders")
        assert consumer["ack_floor"]["stream_seq"] == before["ack_floor"]["stream_seq"]
        assert await lookup.next_of(await there.bus(), "F-orders", ">", last + 1) is not None


async def test_what_cannot_be_restored_leaves_nothing(link: Link, flow: str, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path((await backup(link, tmp_path / "one.arint-backup", PASSPHRASE)).file)
    new = Home(tmp_path / "new")

    async def refused(kind: type[ArintError], what: str, passphrase: bytes = PASSPHRASE, path: Path = file) -> None:
        with pytest.raises(kind, match=what):
            await restore(new, path, passphrase, RestoreArguments())
        assert not new.path.exists()
        assert not new.path.with_name(".new.restoring").exists()

    await refused(DeniedError, "passphrase", b"another one")
    cut = tmp_path / "cut"
    cut.write_bytes(file.read_bytes()[:-100])
    await refused(NotValidError, "damaged", path=cut)
    monkeypatch.setattr("arint.engines.machine.disk_free", lambda _: 2**20)
    await refused(ArintError, "too little space")
    with pytest.raises(ArintError, match="too little space"):
        await backup(link, tmp_path / "two", PASSPHRASE)
    assert not list(tmp_path.glob("*two*"))
    monkeypatch.undo()
    monkeypatch.setattr(restoring, "fits", lambda *_: False)
    await refused(ArintError, "after the restore")
    monkeypatch.undo()
    (new.path / "something").mkdir(parents=True)
    with pytest.raises(ConflictError, match="not empty"):
        await restore(new, file, PASSPHRASE, RestoreArguments())
    with Reader(file, PASSPHRASE) as reader:
        assert reader.line.cluster == "test"
    assert verified(file, PASSPHRASE).cluster == "test"
