from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from arint.errors import ConflictError, NotFoundError, NotValidError, TimedOutError
from arint.store.batches import LARGEST_REQUEST, batches, chunks
from arint.store.changesets import LARGEST_RESOURCE, ChangeSets, revision_of
from arint.store.connection import Etcd
from arint.store.keys import Keys
from arint.store.secrets import SealedSecrets


@pytest.fixture
async def etcd(shared_etcd: Any) -> AsyncIterator[Etcd]:
    async with Etcd([shared_etcd.endpoint]) as connection:
        yield connection


@pytest.fixture
def cluster() -> str:
    return f"c{uuid.uuid4().hex}"


@pytest.fixture
def sets(etcd: Etcd, cluster: str) -> ChangeSets:
    return ChangeSets(etcd, cluster)


async def commit(sets: ChangeSets, resources: dict[str, bytes], expected: int | None = None, message: str = "m") -> Any:
    head = await sets.head_number() if expected is None else expected
    return await sets.commit(resources, expected_head=head, author="ann", message=message)


async def revisions_kept(etcd: Etcd, cluster: str) -> set[str]:
    keys = Keys(cluster)
    kvs, _ = await etcd.range(keys.resources_prefix, keys_only=True)
    return {kv.key.removeprefix(keys.resources_prefix) for kv in kvs}


async def test_nothing_yet(sets: ChangeSets):
    assert await sets.head() is None
    assert await sets.head_number() == 0
    assert await sets.history() == []
    with pytest.raises(NotFoundError):
        await sets.load()
    with pytest.raises(NotFoundError):
        await sets.load(7)


async def test_a_commit_is_loaded_as_it_was(sets: ChangeSets, etcd: Etcd, cluster: str):
    resources = {"Flow/a": b'{"kind":"Flow"}', "Service/b": b"\x00\xff"}
    done = await commit(sets, resources, message="first")
    assert (done.number, done.parent, done.author, done.message) == (1, 0, "ann", "first")
    assert done.resources == {key: revision_of(value) for key, value in resources.items()}
    assert await ChangeSets(etcd, cluster).load() == (done, resources)
    assert await sets.load(1) == (done, resources)


async def test_the_same_again_makes_no_set(sets: ChangeSets):
    first = await commit(sets, {"Flow/a": b"1"})
    assert await commit(sets, {"Flow/a": b"1"}) == first
    assert await sets.head_number() == 1


async def test_an_empty_configuration_is_one(sets: ChangeSets):
    await commit(sets, {"Flow/a": b"1"})
    done = await commit(sets, {})
    assert (done.number, await sets.load()) == (2, (done, {}))


async def test_a_stale_head_is_a_conflict_and_changes_nothing(sets: ChangeSets):
    await commit(sets, {"Flow/a": b"1"})
    for stale in (0, 2):
        with pytest.raises(ConflictError, match="1 is in force"):
            await commit(sets, {"Flow/a": b"2"}, expected=stale)
    assert (await sets.load())[1] == {"Flow/a": b"1"}


async def test_of_many_at_once_one_wins(etcd: Etcd, cluster: str):
    async def one(number: int) -> Any:
        return await ChangeSets(etcd, cluster).commit({"Flow/a": b"%d" % number}, expected_head=0, author=str(number),
                                                      message="")

    results = await asyncio.gather(*(one(number) for number in range(16)), return_exceptions=True)
    won = [result for result in results if not isinstance(result, BaseException)]
    assert len(won) == 1
    assert all(isinstance(result, ConflictError) for result in results if isinstance(result, BaseException))
    assert (await ChangeSets(etcd, cluster).load()) == (won[0], {"Flow/a": won[0].author.encode()})


async def test_rollback_makes_a_new_set_with_the_old_content(sets: ChangeSets):
    await commit(sets, {"Flow/a": b"1", "Flow/b": b"1"})
    await commit(sets, {"Flow/a": b"2"})
    done = await sets.rollback(1, expected_head=2, author="bob")
    assert (done.number, done.parent, done.message) == (3, 2, "rollback to 1")
    assert (await sets.load())[1] == {"Flow/a": b"1", "Flow/b": b"1"}
    assert [one.number for one in await sets.history()] == [3, 2, 1]
    with pytest.raises(ConflictError):
        await sets.rollback(1, expected_head=2, author="bob")


async def test_sizes(sets: ChangeSets):
    await commit(sets, {f"Flow/f{n}": bytes(LARGEST_RESOURCE - 1) + bytes([n]) for n in range(12)})
    with pytest.raises(NotValidError, match="Flow/big"):
        await commit(sets, {"Flow/big": bytes(LARGEST_RESOURCE + 1)})
    assert len((await sets.load())[1]) == 12


async def test_a_thousand_resources(etcd: Etcd, cluster: str, sets: ChangeSets):
    resources = {f"Flow/f{n}": b"%d" % n for n in range(1000)}
    await commit(sets, resources)
    assert (await ChangeSets(etcd, cluster).load())[1] == resources


async def test_old_sets_go_and_what_only_they_named(etcd: Etcd, cluster: str):
    sets = ChangeSets(etcd, cluster, kept=3)
    for number in range(1, 7):
        await commit(sets, {"Flow/a": b"%d" % number, "Flow/still": b"same"})
    assert [one.number for one in await sets.history()] == [6, 5, 4]
    assert await revisions_kept(etcd, cluster) == {
        *(f"Flow/a/{revision_of(b'%d' % number)}" for number in (4, 5, 6)), f"Flow/still/{revision_of(b'same')}"}
    with pytest.raises(NotFoundError):
        await sets.load(3)


async def test_the_sweep_spares_what_a_commit_in_flight_has_written(etcd: Etcd, cluster: str):
    """Written after the head moved, named by no set yet: exactly where the other committer's sweep could harm."""
    sets, other = ChangeSets(etcd, cluster, kept=1), ChangeSets(etcd, cluster, kept=1)
    await commit(sets, {"Flow/a": b"1"})
    sweeping = asyncio.Event()
    go_on = asyncio.Event()

    async def held_sweep(newest: int) -> None:
        sweeping.set()
        await go_on.wait()
        await type(sets)._sweep(sets, newest)

    sets._sweep = held_sweep  # type: ignore[method-assign]
    first = asyncio.create_task(commit(sets, {"Flow/a": b"2"}))
    await sweeping.wait()
    move = other._move_head

    async def late_move(*args: Any) -> None:
        go_on.set()
        await first
        await move(*args)

    other._move_head = late_move  # type: ignore[method-assign]
    await commit(other, {"Flow/a": b"1", "Flow/new": b"3"})  # 'Flow/a' goes back to what the sweep wants to remove
    assert (await ChangeSets(etcd, cluster).load())[1] == {"Flow/a": b"1", "Flow/new": b"3"}


async def test_a_head_move_in_doubt_that_was_done_is_a_success(etcd: Etcd, cluster: str):
    sets = ChangeSets(etcd, cluster)
    real, lost = etcd.txn, []

    async def answer_lost(compares: Any, then: Any, otherwise: Any = ()) -> Any:
        result = await real(compares, then, otherwise)
        if otherwise and not lost:
            lost.append(result)
            raise TimedOutError("the answer was lost")
        return result

    etcd.txn = answer_lost  # type: ignore[method-assign]
    done = await commit(sets, {"Flow/a": b"1"}, expected=0)
    assert lost and done.number == 1 and await sets.head() == done


async def test_configuration_survives_kill_and_compaction(etcd_server: Any):
    async with Etcd([etcd_server.endpoint]) as etcd:
        sets = ChangeSets(etcd, "one")
        await commit(sets, {"Flow/a": b"1"})
        done = await commit(sets, {"Flow/a": b"2"})
        _, revision = await etcd.range("/")
        await etcd.compact(revision)
        etcd_server.kill()
        etcd_server.start(wait=False)
        await etcd_server.wait_ready()
        assert await ChangeSets(etcd, "one").load() == (done, {"Flow/a": b"2"})
        assert (await sets.load(1))[1] == {"Flow/a": b"1"}
        assert (await commit(sets, {"Flow/a": b"3"})).number == 3


async def test_sealed_secrets(etcd: Etcd, cluster: str):
    secrets = SealedSecrets(etcd, cluster)
    await secrets.put("key", "d1", b"sealed-1")
    await secrets.put("key", "d2", b"sealed-2")
    await secrets.put("key2", "d1", b"other")
    await secrets.put("key", "d1", b"sealed anew")  # the same value, with another nonce: kept anew
    assert await secrets.get("key", "d1") == b"sealed anew"
    assert await secrets.digests("key") == ["d1", "d2"]
    assert await secrets.delete("key", "d1") == 1
    with pytest.raises(NotFoundError, match="secret/key"):
        await secrets.get("key", "d1")
    assert await secrets.delete("key") == 1
    assert await secrets.get("key2", "d1") == b"other"


def test_batches_lose_nothing_and_keep_within_limits():
    contents = [(f"k{n}", bytes(n * 997 % 300_000)) for n in range(250)]
    cut = list(batches(contents))
    assert [item for batch in cut for item in batch] == contents
    assert all(len(batch) <= 100 and sum(len(k) + len(v) for k, v in batch) <= LARGEST_REQUEST for batch in cut)
    assert list(batches([])) == [] == list(chunks([]))


async def test_the_head_is_followed(sets: ChangeSets):
    seen: list[int] = []
    async with contextlib.aclosing(sets.follow()) as numbers:
        async for number in numbers:
            seen.append(number)
            if number == 2:
                break
            await commit(sets, {"Flow/a": str(number).encode()})
    assert seen == [0, 1, 2]


async def test_secrets_through_the_change_sets(sets: ChangeSets):
    assert await sets.get_secret("key", "d1") is None
    await sets.put_secret("key", "d1", b"sealed")
    assert await sets.get_secret("key", "d1") == b"sealed"
