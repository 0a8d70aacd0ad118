"""`filter`, `split` and `multicast` in real workers: nothing lost and nothing twice, whoever dies when."""

from __future__ import annotations

from pathlib import Path

from arint.bus import streams
from arint.bus.subjects import stream_of
from arint.operations import trail
from arint.operations.story import tell
from tests.runtime.scene import RESULTS, SEND, running
from tests.servers import NatsServer

SPLIT = RESULTS + f"""
kind: Flow
name: parts
steps:
  - split: body.items
  - filter: "!body.endsWith('x')"
  - set: {{body: '{{"n": body, "more": string(vars.split.index)}}'}}
  - {SEND}
retry: {{attempts: 20, backoff: 50ms..200ms}}
"""


async def test_one_look_up_tells_the_whole_tree(tmp_path: Path, nats_tls_server: NatsServer) -> None:
    async with running(tmp_path, nats_tls_server, SPLIT) as scene:
        message = await scene.put("parts", {"items": ["a", "b", "cx"]})
        await scene.until(lambda: len(scene.rows()) == 2)

        async def told() -> bool:
            return len(await scene.actions(message.root)) == 6

        await scene.until(told)
        found = await trail.read(scene.bus, message.root)
        story = tell(message.root, found.inputs, found.actions)
        assert story.state == "done"
        assert sorted((hop.depth, hop.stage, hop.state) for hop in story.hops) == [
            (0, "start", "done"), (1, "0-part", "done"), (1, "0-part", "done"), (1, "0-part", "filtered"),
            (2, "3-send-results", "done"), (2, "3-send-results", "done")]
        assert story.hops[0].attempts[0].parts == 3 and story.hops[0].attempts[0].to == ("parts/0-part",)


async def test_a_split_that_dies_half_way_loses_nothing_and_doubles_nothing(
        tmp_path: Path, nats_tls_server: NatsServer) -> None:
    async with running(tmp_path, nats_tls_server, SPLIT, failpoints="parts=1",
                       start=False) as scene:
        await scene.agent.start(scene.orders["runner-1"])
        wanted = {f"{part}" for part in range(1200)}
        async with scene.revived(1):
            await scene.put("parts", {"items": sorted(wanted)})
            await scene.until(lambda: set(scene.counts()) == wanted, 60)
        assert scene.deaths
        assert set(scene.counts().values()) == {1}


async def test_many_parts_take_little_memory(tmp_path: Path, nats_tls_server: NatsServer) -> None:
    manifest = "{kind: Flow, name: many, max_bytes: 128MiB, steps: [{split: body}, {call: service/nobody}]}\n---\n" \
               "{kind: Service, name: nobody, source: work.py:nobody, replicas: 0}"
    async with running(tmp_path, nats_tls_server, manifest, "def nobody(): ...") as scene:
        process = scene.agent.processes["runner-1"].pid
        before = resident(process)
        message = await scene.put("many", list(range(30_000)))

        async def stored() -> bool:
            return bool(await scene.actions(message.root))

        await scene.until(stored, 60)
        assert (await streams.state(scene.bus, stream_of("many"))).messages == 30_001
        assert peak(process) - before < 60 * 2**20


def resident(process: int) -> int:
    return _status(process, "VmRSS")


def peak(process: int) -> int:
    return _status(process, "VmHWM")


def _status(process: int, key: str) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024
