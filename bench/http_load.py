"""`python -m bench.http_load PORT CALLERS SECONDS [PATH STATUS]`: load over HTTP, in a process of its own.

Raw sockets and httptools: the two cores are for the listener and the broker. Each caller sends its next request when
it has its answer. Prints one line of JSON: rate, latencies in ms, answers by status.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time

import httptools
import uvloop

WARM_UP = 1.0
BODY = json.dumps({"id": "order-0001", "customer": "bench", "note": "x" * 970}).encode()[:1024].ljust(1024)


def request_of(port: int, path: str) -> bytes:
    """One request, the body of 1 KiB included."""
    return (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"X-Api-Key: bench-key\r\nUser-Agent: bench\r\nContent-Length: {len(BODY)}\r\n\r\n").encode() + BODY


class Caller(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, request: bytes, run: Run) -> None:
        self._request, self._run = request, run
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        self._run.answered(now, now - self._sent, self._parser.get_status_code())
        if now < self._run.end:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._run.gone()


class Run:
    """What all callers saw. The first second is not counted."""

    def __init__(self, callers: int, seconds: float, status: int) -> None:
        self.begin = time.perf_counter() + WARM_UP
        self.end = self.begin + seconds
        self.times: list[float] = []
        self.statuses: dict[int, int] = {}
        self._left, self._status = callers, status
        self.over = asyncio.Event()

    def answered(self, now: float, took: float, status: int) -> None:
        if now >= self.begin:
            self.statuses[status] = self.statuses.get(status, 0) + 1
            if status == self._status and now <= self.end:
                self.times.append(took)

    def gone(self) -> None:
        self._left -= 1
        if not self._left:
            self.over.set()


async def load(port: int, callers: int, seconds: float, path: str = "/orders", status: int = 202) -> None:
    """Send for so long, and tell."""
    run, request, loop = Run(callers, seconds, status), request_of(port, path), asyncio.get_running_loop()
    for _ in range(callers):
        await loop.create_connection(lambda: Caller(request, run), "127.0.0.1", port)
    await asyncio.wait_for(run.over.wait(), seconds + 30)
    times = sorted(run.times)
    of = {f"p{part}": round(times[min(int(len(times) * part / 100), len(times) - 1)] * 1000, 3)
          for part in (50, 95, 99)} if times else {}
    print(json.dumps({"rate": round(len(times) / seconds, 1), **of, "statuses": run.statuses}))


if __name__ == "__main__":
    gc.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(load(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]),
                        *(kind(text) for kind, text in zip((str, int), sys.argv[4:], strict=False))))
