from __future__ import annotations

import asyncio
from typing import Any

import pytest

from arint.errors import ArintError, ConflictError, TimedOutError, UnreachableError
from arint.store.changesets import ChangeSets
from arint.store.connection import Etcd
from tests.patience import PATIENCE


async def commit_until_done(sets: ChangeSets, resources: dict[str, bytes]) -> int:
    """As an operation does it: look again, try again, until it stands."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                head = await sets.head_number()
                return (await sets.commit(resources, expected_head=head, author="ann", message="")).number
            except (TimedOutError, UnreachableError, ConflictError) as error:
                last: ArintError = error
                assert last.remedy


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_each_member_in_turn_fails_and_no_commit_is_lost_or_doubled(etcd_cluster: Any, fault: str):
    async with Etcd([member.endpoint for member in etcd_cluster], timeout=3) as etcd:
        sets = ChangeSets(etcd, "one")
        for turn, member in enumerate(etcd_cluster, start=1):
            getattr(member, fault)()
            try:
                await commit_until_done(sets, {"Flow/a": b"%d" % turn})
            finally:
                if fault == "pause":
                    member.resume()
                else:
                    member.start(wait=False)
            await member.wait_ready()
        history = await sets.history()
        assert [one.number for one in history] == [3, 2, 1]
        assert [(await sets.load(one.number))[1]["Flow/a"] for one in history] == [b"3", b"2", b"1"]
