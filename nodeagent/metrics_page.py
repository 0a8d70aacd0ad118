"""`GET /metrics` on the loopback, for Prometheus. A few lines of HTTP: a server's library would cost the agent memory.

Nothing that is served is secret, yet nobody outside of this machine is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from arint.meters.exposition import CONTENT_TYPE

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
PATH = "/metrics"
LARGEST_REQUEST = 8192
REQUEST_WITHIN = 5.0
ANSWER_WITHIN = 10.0
MOST_AT_ONCE = 16
TRY_AGAIN = 5.0


class MetricsPage:
    """Serves what `text` gives. A port that is taken is tried again, and holds up nothing."""

    def __init__(self, port: int, text: Callable[[], str]) -> None:
        self._port = port
        self._text = text
        self._open = 0
        self.url = ""
        """Where it is served; empty while it is not."""

    async def run(self) -> None:
        """Serve until cancelled."""
        said = False
        while True:
            try:
                server = await asyncio.start_server(self._serve, HOST, self._port, limit=LARGEST_REQUEST)
            except OSError as error:
                if not said:
                    log.warning("metrics cannot be served at %s:%d: %s", HOST, self._port, error.strerror)
                said = True
                await asyncio.sleep(TRY_AGAIN)
                continue
            self.url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}{PATH}"
            try:
                await asyncio.Event().wait()
            finally:
                server.close()  # whoever is being answered is not waited for
                self.url = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= MOST_AT_ONCE:
            writer.close()
            return
        self._open += 1
        try:
            async with asyncio.timeout(REQUEST_WITHIN):
                request = await reader.readuntil(b"\r\n\r\n")
            writer.write(self._answer(request))
            async with asyncio.timeout(ANSWER_WITHIN):
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # it said nothing that can be answered, or does not read
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, request: bytes) -> bytes:
        method, _, rest = request.partition(b"\r\n")[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path != PATH.encode():
            return _response("404 Not Found", f"the metrics are at {PATH}\n")
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", "GET and HEAD\n", "Allow: GET, HEAD\r\n")
        return _response("200 OK", self._text(), content_type=CONTENT_TYPE, is_head=method == b"HEAD")


def _response(status: str, text: str, more: str = "", *, content_type: str = "text/plain; charset=utf-8",
              is_head: bool = False) -> bytes:
    body = text.encode()
    head = (f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
            f"Cache-Control: no-store\r\nConnection: close\r\n{more}\r\n").encode()
    return head if is_head else head + body
