"""Carries spans to an OTLP collector in batches; what it does not take in time is dropped, and counted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING

from arint.meters.families import SPANS
from arint.tracing.otlp import export_request, rejected, traces_url
from arint.tracing.span import Span

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

MOST_WAITING = 4096
BATCH = 512
INTERVAL = 1.0
TIMEOUT = 10.0
LONGEST_PAUSE = 30.0
_AWAY = frozenset({429, 502, 503, 504})
"""The statuses after which OTLP says to send again."""


class Exporter:
    """`run` it in a task; `put` never waits, and `close` waits no longer than it is told."""

    def __init__(self, endpoint: str, resource: Mapping[str, str], *, interval: float = INTERVAL) -> None:
        self._url = traces_url(endpoint)
        self._resource = dict(resource)
        self._interval = interval
        self._waiting: deque[Span] = deque()
        self._full = asyncio.Event()
        self._turn = asyncio.Lock()
        self._exported, self._dropped = SPANS.at("exported"), SPANS.at("dropped")
        self._client: httpx.AsyncClient | None = None
        self._is_away = False

    def put(self, span: Span) -> None:
        """Export it soon; dropped where too many wait."""
        if len(self._waiting) >= MOST_WAITING:
            self._dropped.add()
            return
        self._waiting.append(span)
        if len(self._waiting) >= BATCH:
            self._full.set()

    async def run(self) -> None:
        """Export until cancelled."""
        pause = self._interval
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._full.wait()
            self._full.clear()
            if await self.flush():
                pause = self._interval
            else:
                pause = min(max(2 * pause, self._interval), LONGEST_PAUSE)
                await asyncio.sleep(pause)  # a full queue is no reason to ask a collector that is away more often

    async def flush(self) -> bool:
        """Export what waits. False where the collector is away: then it waits on."""
        async with self._turn:
            while self._waiting:
                batch = list(islice(self._waiting, BATCH))
                if not await self._export(batch):
                    return False
                for _ in batch:
                    self._waiting.popleft()
            return True

    async def _export(self, batch: list[Span]) -> bool:
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(timeout=TIMEOUT, trust_env=False,
                                             headers={"Content-Type": "application/json", "User-Agent": "arint"})
        try:
            answer = await self._client.post(self._url, content=export_request(batch, self._resource))
        except httpx.HTTPError as error:
            self._away(f"{type(error).__name__}: {error}")
            return False
        if answer.status_code in _AWAY:
            self._away(f"answered {answer.status_code}")
            return False
        lost = rejected(answer.content) if answer.is_success else len(batch)
        self._dropped.add(lost)
        self._exported.add(len(batch) - lost)
        if not answer.is_success:
            self._away(f"answered {answer.status_code}: the spans are dropped")
        elif self._is_away:
            self._is_away = False
            log.info("the collector %s takes spans again", self._url)
        return True

    def _away(self, why: str) -> None:
        if not self._is_away:
            log.warning("spans cannot be exported to %s: %s", self._url, why)
        self._is_away = True

    async def close(self, within: float = 2.0) -> None:
        """Export what waits, at most so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self.flush()
        self._dropped.add(len(self._waiting))
        self._waiting.clear()
        if self._client is not None:
            await self._client.aclose()
