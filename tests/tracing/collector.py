"""An OTLP/HTTP collector for tests: it reads requests with OpenTelemetry's own types."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.patience import PATIENCE

_IDS = ("traceId", "spanId", "parentSpanId")


class Collector:
    """Use `async with`. `answer` and `body` are what it answers; what came with a 200 is in `spans`."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.requests = 0
        self.answer = 200
        self.body = b"{}"
        self.url = ""
        self._server: asyncio.Server

    async def __aenter__(self) -> Collector:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def until(self, true: Callable[[], object], within: float = PATIENCE) -> None:
        deadline = time.monotonic() + within
        while not true():
            assert time.monotonic() < deadline, f"{self.requests} requests, {len(self.spans)} spans"
            await asyncio.sleep(0.01)

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
                body = await reader.readexactly(int(lines[b"content-length"]))
                assert head.startswith(b"POST /v1/traces ")
                assert lines[b"content-type"] == b"application/json"
                self.requests += 1
                if self.answer == 200:
                    self._take(body)
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (
                    self.answer, len(self.body), self.body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest()
        json_format.ParseDict(_with_base64(json.loads(body)), request)  # which refuses what the types do not know
        for of_process in request.resource_spans:
            self.resources.append({one.key: one.value.string_value for one in of_process.resource.attributes})
            for of_scope in of_process.scope_spans:
                self.spans += of_scope.spans


def _with_base64(value: Any) -> Any:
    """OTLP writes ids in hex, where protobuf's JSON has base 64."""
    if isinstance(value, dict):
        return {key: base64.b64encode(bytes.fromhex(item)).decode() if key in _IDS else _with_base64(item)
                for key, item in value.items()}
    return [_with_base64(item) for item in value] if isinstance(value, list) else value
