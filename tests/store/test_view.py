"""Cached views against real etcd."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from arint.errors import ArintError, UnreachableError
from arint.ports import free_port
from arint.store.connection import Etcd
from arint.store.view import View
from tests.patience import PATIENCE
from tests.servers import EtcdServer


class Node(msgspec.Struct):
    name: str
    weight: int = 1


def encoded(name: str, weight: int = 1) -> bytes:
    return msgspec.json.encode(Node(name, weight))


@pytest.fixture
async def etcd(shared_etcd: EtcdServer) -> AsyncIterator[Etcd]:
    async with Etcd([shared_etcd.endpoint]) as connection:
        yield connection


@pytest.fixture
def root() -> str:
    return f"/test/{uuid.uuid4().hex}/"


async def until(view: View[Any], condition: Callable[[], bool], timeout: float = PATIENCE) -> None:
    async with asyncio.timeout(timeout):
        version = view.version
        while not condition():
            version = await view.wait_changed(version)


async def test_it_is_listed_then_follows(etcd: Etcd, root: str):
    await etcd.put(root + "a", encoded("a"))
    async with View(etcd, root, Node) as view:
        assert view.snapshot == {"a": Node("a")}
        before = view.snapshot
        revision = await etcd.put(root + "b/c", encoded("c", 2))
        await until(view, lambda: "b/c" in view.snapshot)
        assert view.mod_revision("b/c") == revision
        assert before == {"a": Node("a")}, "a snapshot that was taken never changes"
        await etcd.delete(root + "a")
        await until(view, lambda: view.snapshot == {"b/c": Node("c", 2)})
        assert view.mod_revision("a") == 0


async def test_a_value_that_is_no_value_does_not_hold_up_the_others(etcd: Etcd, root: str):
    await etcd.put(root + "bad", b"{")
    await etcd.put(root + "worse", b'{"name": 1}')
    async with View(etcd, root, Node) as view:
        assert set(view.broken) == {"bad", "worse"}
        await etcd.put(root + "bad", encoded("good"))
        await until(view, lambda: "bad" in view.snapshot)
        assert set(view.broken) == {"worse"}


async def test_iteration_gives_now_and_every_change(etcd: Etcd, root: str):
    async with View(etcd, root, bytes) as view:
        seen = []
        async for snapshot in view:
            seen.append(dict(snapshot))
            if len(seen) == 3:
                break
            await etcd.put(f"{root}{len(seen)}", b"x")
        assert seen == [{}, {"1": b"x"}, {"1": b"x", "2": b"x"}]


async def test_a_closed_view_says_so(etcd: Etcd, root: str):
    async with View(etcd, root, bytes) as view:
        waiting = asyncio.create_task(view.wait_changed())
        await asyncio.sleep(0)
    with pytest.raises(ArintError, match="closed"):
        await waiting


async def test_with_no_etcd_it_does_not_begin():
    async with Etcd([f"127.0.0.1:{free_port()}"], timeout=0.3) as etcd:
        with pytest.raises(UnreachableError):
            async with View(etcd, "/a/", bytes):
                pass


async def test_it_is_stale_while_etcd_is_away_and_then_as_etcd_is(etcd_server: EtcdServer):
    async with Etcd([etcd_server.endpoint]) as etcd, View(etcd, "/v/", bytes) as view:
        await etcd.put("/v/a", b"1")
        await until(view, lambda: "a" in view.snapshot)
        assert not view.stale
        etcd_server.kill()
        await until(view, lambda: view.stale)
        assert view.snapshot == {"a": b"1"}
        etcd_server.start(wait=False)
        await etcd_server.wait_ready()
        await etcd.put("/v/b", b"2")
        await until(view, lambda: view.snapshot == {"a": b"1", "b": b"2"})
        assert not view.stale


async def test_after_a_compaction_it_lists_again_deletes_too(etcd_server: EtcdServer):
    async with Etcd([etcd_server.endpoint]) as etcd, Etcd([etcd_server.endpoint]) as other:
        for name in "abc":
            await etcd.put(f"/v/{name}", b"1")
        async with View(etcd, "/v/", bytes) as view:
            # The view's own member falls away while history moves on without it.
            [endpoint], etcd.endpoints._all = etcd.endpoints._all, [_Away()]
            await endpoint.channel.close()
            await until(view, lambda: view.stale)
            await other.delete("/v/a")
            await other.put("/v/b", b"2")
            await other.compact(await other.put("/v/d", b"1"))
            etcd.endpoints._all = other.endpoints._all
            await until(view, lambda: view.snapshot == {"b": b"2", "c": b"1", "d": b"1"})
            assert not view.stale
            await other.put("/v/e", b"1")
            await until(view, lambda: "e" in view.snapshot)


class _Away:
    """A member that cannot be reached."""

    address = "away"

    async def connected(self, timeout: float) -> bool:
        return False

    async def reason(self) -> str:
        return "away"
