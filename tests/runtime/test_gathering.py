"""`aggregate` in real workers: every member in exactly one aggregate, whoever dies when."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from arint.bus import lookup, streams
from arint.bus.connection import Bus
from arint.bus.subjects import stream_of
from arint.bus.together import Part, store_together
from arint.message import Message, StoredBody
from arint.operations import trail
from arint.operations.story import tell
from arint.runtime.control import BusSettings
from tests.runtime.scene import Scene, running
from tests.servers import NatsServer

MANIFEST = """
kind: Flow
name: grouped
max_bytes: 16MiB
steps:
  - aggregate: {by: body.key, size: 10, after: 4s}
  - send: {to: topic/groups}
---
kind: Flow
name: scattered
max_bytes: 16MiB
steps:
  - split: body
  - call: service/half
  - aggregate: {split: true, after: 1h}
  - send: {to: topic/wholes}
---
kind: Flow
name: huge
max_bytes: 16MiB
steps:
  - split: body
  - aggregate: {split: true}
  - send: {to: topic/wholes}
---
kind: Flow
name: large
max_bytes: 16MiB
steps:
  - split: body
  - aggregate: {split: true}
  - set: {vars.n: size(body)}
---
kind: Service
name: half
source: work.py:half
"""
WHOLE = {"grouped": "0-whole", "scattered": "2-whole", "huge": "1-whole", "large": "1-whole"}
CODE = """
def half(n: int) -> float:
    if n == 13:
        raise ValueError("unlucky")
    return n / 2
"""


async def aggregates(scene: Scene, flow: str) -> list[Message]:
    """All aggregates that were ever stored."""
    found = await lookup.look_up(scene.bus, stream_of(flow), f"m.*.*.*.{flow}.{WHOLE[flow]}", limit=100_000)
    return [one.message() for one in found]


def members(wholes: list[Message]) -> Counter[Any]:
    import json

    return Counter(item["n"] for whole in wholes for item in json.loads(whole.body))


async def test_groups_by_size_and_by_time_over_a_restart(tmp_path: Path, nats_tls_server: NatsServer) -> None:
    async with running(tmp_path, nats_tls_server, MANIFEST, CODE) as scene:
        first, *_ = await asyncio.gather(*(scene.put("grouped", {"key": "k", "n": number}) for number in range(24)))

        async def two() -> bool:
            return len(await aggregates(scene, "grouped")) == 2

        await scene.until(two)
        await scene.agent.kill("runner-1")
        await scene.agent.start(scene.orders["runner-1"])

        async def three() -> bool:
            return len(await aggregates(scene, "grouped")) == 3

        await scene.until(three)  # an ack is waited for an hour: they were brought again at once
        wholes = await aggregates(scene, "grouped")
        assert members(wholes) == Counter(range(24))
        assert [whole.variables["group"]["complete"] for whole in wholes] == ["size", "size", "time"]

        async def told() -> bool:
            found = await trail.read(scene.bus, first.root)
            story = tell(first.root, found.inputs, found.actions)
            return story.state == "done" and [hop.state for hop in story.hops] == ["aggregated"]

        await scene.until(told)


async def test_a_split_is_gathered_and_a_dead_part_is_waited_for(tmp_path: Path, nats_tls_server: NatsServer) -> None:
    manifest = MANIFEST.replace("name: scattered", "name: scattered\nretry: {attempts: 1}")
    async with running(tmp_path, nats_tls_server, manifest, CODE) as scene:
        whole = await scene.put("scattered", list(range(12)))
        dead = await scene.put("scattered", [13, 14])

        async def gathered() -> list[Message]:
            return await aggregates(scene, "scattered")

        found = await scene.until(gathered)
        assert [one.body for one in found] == [b"[0.0,0.5,1.0,1.5,2.0,2.5,3.0,3.5,4.0,4.5,5.0,5.5]"]
        assert found[0].root == found[0].cause == whole.root

        async def died() -> bool:
            return any(action.outcome == "dead" for action in await scene.actions(dead.root))

        await scene.until(died)
        assert len(await aggregates(scene, "scattered")) == 1

        async def told() -> bool:
            kept = await trail.read(scene.bus, whole.root)
            story = tell(whole.root, kept.inputs, kept.actions)
            return story.state == "done" and len(story.hops) == 1 + 12 * 2 + 1

        await scene.until(told)


async def test_large_bodies_are_gathered_into_a_larger_one(tmp_path: Path, nats_tls_server: NatsServer) -> None:
    async with running(tmp_path, nats_tls_server, MANIFEST, CODE) as scene:
        large = "x" * 600_000
        await scene.put("large", [large, "small", large])

        async def gathered() -> list[Message]:
            return await aggregates(scene, "large")

        (whole,) = await scene.until(gathered, 40)
        assert isinstance(whole.body, StoredBody) and whole.body.claim.size == 1_200_000 + 15

        async def told() -> bool:
            return any(action.stage == "1-whole" and action.outcome == "done" for action in await scene.actions())

        await scene.until(told)


async def test_more_parts_than_one_batch_holds_are_gathered(tmp_path: Path, nats_tls_server: NatsServer) -> None:
    async with running(tmp_path, nats_tls_server, MANIFEST, CODE) as scene:
        await scene.put("huge", list(range(2500)))

        async def gathered() -> list[Message]:
            return await aggregates(scene, "huge")

        (whole,) = await scene.until(gathered, 40)
        assert whole.body == b"[%b]" % b",".join(b"%d" % number for number in range(2500))
        assert whole.variables["group"] == {"key": whole.variables["group"]["key"], "count": 2500, "complete": "split"}


async def test_whoever_dies_each_member_is_in_exactly_one_aggregate(
        tmp_path: Path, nats_tls_server: NatsServer) -> None:
    async with running(tmp_path, nats_tls_server, MANIFEST, CODE, failpoints="aggregated=0.3,recorded=0.01",
                       start=False) as scene:
        await scene.start()
        async with scene.revived(3):
            for number in range(300):
                await scene.put("grouped", {"key": f"k{number % 7}", "n": number})
                if number % 100 == 50:
                    scene.apply()
                if number == 150:
                    await asyncio.to_thread(nats_tls_server.restart, wait=False)  # kill -9 of the broker as well
                    await nats_tls_server.wait_ready()

            async def complete() -> bool:
                return set(members(await aggregates(scene, "grouped"))) == set(range(300))

            await scene.until(complete, 60)
        assert scene.deaths
        assert set(members(await aggregates(scene, "grouped")).values()) == {1}


async def test_a_batch_is_stored_whole_or_not_at_all(shared_nats: NatsServer) -> None:
    def part(name: str) -> Part:
        return Part(f"m.r.{name}.0.together.x", {"A": "b"}, name.encode())

    async with await Bus.connect(BusSettings((shared_nats.server,), "", "", "")) as bus:
        await streams.ensure_flow(bus, "together", max_bytes=2**20)
        try:
            assert await store_together(bus, [part("a"), part("b")])
            assert await store_together(bus, [part("c"), part("b")]) is None
            found = await lookup.get_many(bus, stream_of("together"), [part(name).subject for name in "abc"])
            assert sorted(one.body for one in found) == [b"a", b"b"]
        finally:
            await streams.delete_stream(bus, stream_of("together"))
