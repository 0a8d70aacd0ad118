"""Five steps, shared by a runner and a service's worker: validate, map (5 lines), when, call, send to a topic."""

from __future__ import annotations

import asyncio

from arint.bus.subjects import TOPICS
from bench.cpu import cpu_seconds
from bench.path import running
from bench.report import Figure, best
from bench.watch import rate_of

MESSAGES = 20_000
MANIFEST = """
kind: Service
name: price
source: work.py:price
---
kind: Flow
name: orders
steps:
  - validate:
      schema:
        type: object
        required: [id, lines]
        properties: {id: {type: string}, lines: {type: array, items: {type: object, required: [sku, quantity, price]}}}
  - map: |-
      {
        "id": id,
        "customer": customer.name,
        "total": $sum(lines.(quantity * price)),
        "positions": $count(lines),
        "express": shipping = "express"
      }
  - when: {if: body.total > 10.0, then: [{set: {headers.large: '"yes"'}}]}
  - call: service/price
  - send: {to: topic/prices}
max_bytes: 1GiB
"""
CODE = """
async def price(order: dict) -> dict:
    order["priced"] = True
    return order
"""
ORDER = (b'{"id":"o-%d","customer":{"name":"Ada","number":7},"shipping":"express",'
         b'"lines":[{"sku":"a","quantity":2,"price":3.5},{"sku":"b","quantity":1,"price":9.25}]}')


def measure(runs: int) -> list[Figure]:
    """Whole-flow messages a second of CPU, all processes of ours added up; and by the clock."""
    found = [asyncio.run(_run()) for _ in range(runs)]
    top = max(found)
    return [
        best("flow of five steps, a second of CPU of runner and worker", [run[0] for run in found], "/s", 2000,
             detail=f"runner {top[2]:,.0f}/s, worker {top[3]:,.0f}/s of CPU each"),
        best("flow of five steps, by the clock", [run[1] for run in found], "/s"),
    ]


async def _run() -> tuple[float, float, float, float]:
    async with running(MANIFEST, CODE) as path:
        count = await path.fill("orders", (ORDER % number for number in range(MESSAGES)))
        runner, service = path.orders("runner-1", "runner"), path.service("price")
        for orders in (runner, service):
            await path.agent.start(orders, wait=False)

        async def done() -> int:
            return await path.count(TOPICS)

        rate = await rate_of(done, count)
        runner_cpu, service_cpu = cpu_seconds(path.pid("runner-1")), cpu_seconds(path.pid("price-1"))
        return count / (runner_cpu + service_cpu), rate, count / runner_cpu, count / service_cpu
