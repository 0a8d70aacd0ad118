"""`delay`, `throttle` and `enrich` in real workers."""

from __future__ import annotations

import time
from pathlib import Path

from tests.runtime.scene import RESULTS, SEND, running
from tests.servers import NatsServer

MANIFEST = RESULTS + f"""
kind: Flow
max_bytes: 8MiB
name: later
steps:
  - log: came
  - when: {{if: has(body.until), then: [{{delay: {{until: body.until}}}}]}}
  - set: {{body: '{{"n": body.n, "more": string(message.attempt)}}'}}
  - {SEND}
---
kind: Flow
max_bytes: 8MiB
name: paced
steps:
  - log: came
  - throttle: 20/s
  - {SEND}
---
kind: Flow
max_bytes: 8MiB
name: keyed
steps:
  - log: came
  - throttle: {{rate: 2/s, by: body.more}}
  - {SEND}
---
kind: Flow
max_bytes: 8MiB
name: asked
steps:
  - enrich:
      from: service/stock
      ask: body.n
      into: vars.stock
  - set: {{body.more: 'string(vars.stock.quantity)'}}
  - {SEND}
---
kind: Service
name: stock
source: work.py:stock
"""
CODE = "def stock(sku: str) -> dict:\n    return {'quantity': len(sku)}\n"


async def test_messages_wait_for_their_time_and_hold_up_nobody(tmp_path: Path, nats_tls_server: NatsServer) -> None:
    async with running(tmp_path, nats_tls_server, MANIFEST, CODE) as scene:
        due = time.time() + 4
        late = await scene.put("later", {"n": "late", "until": due})
        await scene.put("later", {"n": "now"})
        await scene.until(lambda: "now" in scene.counts())
        await scene.agent.kill("runner-1")  # while one waits: the time stays the same
        await scene.agent.start(scene.orders["runner-1"])
        await scene.put("asked", {"n": "abc"})
        began = time.monotonic()
        for number in range(30):
            await scene.put("paced", {"n": f"p{number}", "more": ""})
        for number in range(8):
            await scene.put("keyed", {"n": f"k{number}", "more": f"key{number % 2}"})
        await scene.until(lambda: sum(key.startswith("p") for key in scene.counts()) == 30)
        assert time.monotonic() - began > 1.0
        await scene.until(lambda: "late" in scene.counts())
        assert time.time() >= due
        outcomes = [action.outcome for action in await scene.actions(late.root)]
        assert "delayed" in outcomes and "failed" not in outcomes
        assert ("late", "1") in scene.rows()
        await scene.until(lambda: sum(key.startswith("k") for key in scene.counts()) == 8)
        assert ("abc", "5") in scene.rows()
        assert set(scene.counts().values()) == {1}
