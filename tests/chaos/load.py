"""Traffic: sends numbered orders until each has had its yes; repeats with the same idempotency key until then."""

from __future__ import annotations

import asyncio

import httpx
import msgspec

PATIENCE = 120.0
"""Seconds that one order may take to be accepted, faults included."""


async def send_all(url: str, key: str, count: int, *, at_once: int, run: str) -> dict[int, str]:
    """Send orders 0 … count-1; returns the message id that each was given."""
    accepted: dict[int, str] = {}
    numbers = iter(range(count))

    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=at_once), timeout=10.0) as client:
        async def one_sender() -> None:
            for number in numbers:
                accepted[number] = await _send(client, url, key, number, run)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(one_sender())
    return accepted


async def _send(client: httpx.AsyncClient, url: str, key: str, number: int, run: str) -> str:
    body = msgspec.json.encode({"number": number, "text": "x" * 200})
    headers = {"X-API-Key": key, "Content-Type": "application/json", "Idempotency-Key": f"{run}-{number}"}
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                answer = await client.post(url, content=body, headers=headers)
            except httpx.HTTPError:
                await asyncio.sleep(0.05)  # a refused connection: the listener is down
                continue
            if answer.status_code == 202:
                return str(answer.json()["id"])
            assert answer.status_code in (429, 503), (answer.status_code, answer.text)
            await asyncio.sleep(0.05)
