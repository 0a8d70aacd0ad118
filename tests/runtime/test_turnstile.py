"""`order_by` in real workers: the order holds over retries, deaths, several stages, and several replicas."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

from tests.runtime.scene import RESULTS, SEND, Scene, running
from tests.servers import NatsServer

MANIFEST = RESULTS + f"""
kind: Flow
name: ordered
max_bytes: 32MiB
order_by: body.more
steps:
  - when: {{if: body.slow, then: [{{call: service/work}}]}}
  - call: service/work
  - {SEND}
retry: {{attempts: 4, backoff: 100ms..300ms}}
---
kind: Flow
name: forked
max_bytes: 32MiB
order_by: body.key
steps:
  - split: body.parts
  - call: service/echo
  - {SEND}
---
kind: Service
name: work
source: work.py:work
replicas: 2
---
kind: Service
name: echo
source: work.py:echo
"""
CODE = """
import asyncio, random
from arint import Context

async def work(body: dict, ctx: Context) -> dict:
    await asyncio.sleep(random.random() * 0.02)
    if body.get("fails", 0) >= ctx.message.attempt and ctx.message.headers.get("x") != "y":
        raise ValueError("not yet")
    return body

async def echo(body: dict) -> dict:
    await asyncio.sleep(random.random() * 0.05)
    return body
"""


def orders(scene: Scene) -> dict[str, list[int]]:
    """The numbers that have arrived, by key."""
    found: dict[str, list[int]] = defaultdict(list)
    for number, key in scene.rows():
        found[key].append(int(number))
    return found


async def test_each_key_is_in_order_over_retries_stages_replicas_and_deaths(
        tmp_path: Path, nats_tls_server: NatsServer) -> None:
    async with running(tmp_path, nats_tls_server, MANIFEST, CODE, failpoints="recorded=0.006") as scene:
        chance = random.Random(7)
        async with scene.revived(1):
            for number in range(80):
                await scene.put("ordered", {"n": str(number), "more": f"key{number % 8}", "slow": chance.random() < 0.5,
                                            "fails": chance.choice([0, 0, 0, 0, 0, 1])})
                if number % 20 == 10:
                    scene.apply()
            await scene.agent.kill("runner-1")
            await scene.until(lambda: len(scene.counts()) > 40, 60)
            scene.apply()
            await scene.until(lambda: len(scene.counts()) == 80, 60)
        for key, numbers in orders(scene).items():
            assert numbers == sorted(numbers), key
        assert set(scene.counts().values()) == {1}


async def test_a_failing_key_holds_up_only_itself_and_all_parts_leave_before_the_next_is_let_in(
        tmp_path: Path, nats_tls_server: NatsServer) -> None:
    async with running(tmp_path, nats_tls_server, MANIFEST, CODE) as scene:
        await scene.put("ordered", {"n": "1", "more": "bad", "slow": False, "fails": 9})
        await scene.put("ordered", {"n": "2", "more": "bad", "slow": False})
        await scene.put("ordered", {"n": "3", "more": "good", "slow": False})
        await scene.put("ordered", {"n": "4", "slow": False})
        await scene.until(lambda: {"2", "3"} <= set(scene.counts()))
        actions = await scene.actions()
        dead = next(action for action in actions if action.outcome == "dead" and action.stage != "start")
        assert dead.attempt == 4
        begun = sorted(action.at for action in actions if action.stage == "start" and action.outcome == "done")
        first_try = next(action for action in actions if action.outcome == "failed" and action.attempt == 1)
        assert begun[-1] > dead.at and begun[-2] < dead.at, "the other key did not wait, this one did"
        assert first_try.at < dead.at
        assert any(action.outcome == "dead" and action.stage == "start" for action in actions), "it has no key"

        for number in range(6):
            await scene.put("forked", {"key": number % 2, "parts": [
                {"n": f"{number}", "more": f"key{number % 2}"} for _ in range(7)]})
        await scene.until(lambda: len(scene.rows()) == 42 + 2, 30)
        assert all(numbers == sorted(numbers) for key, numbers in orders(scene).items() if key != "good")
