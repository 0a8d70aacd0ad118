"""Spans as OTLP's JSON has them: ids in hex, times and whole numbers as text, enumerations as numbers. Pure.

https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from arint.tracing.span import Span
from arint.version import VERSION

PATH = "/v1/traces"
_KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_ERROR = 2
_LONGEST_TEXT = 1000
_encode = msgspec.json.Encoder().encode


def export_request(spans: Sequence[Span], resource: Mapping[str, str]) -> bytes:
    """An ExportTraceServiceRequest with these spans of one process."""
    return _encode({"resourceSpans": [{
        "resource": {"attributes": _attributes(resource)},
        "scopeSpans": [{"scope": {"name": "arint", "version": VERSION}, "spans": [_span(span) for span in spans]}],
    }]})


def rejected(answer: bytes) -> int:
    """How many spans the collector says it did not take, though it answered 200."""
    try:
        return int(msgspec.json.decode(answer)["partialSuccess"]["rejectedSpans"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return 0


def traces_url(endpoint: str) -> str:
    """Where traces go: OTEL_EXPORTER_OTLP_ENDPOINT names the base, but may name the whole."""
    base = endpoint.rstrip("/")
    return base if base.endswith(PATH) else base + PATH


def _span(span: Span) -> dict[str, Any]:
    told: dict[str, Any] = {
        "traceId": span.trace, "spanId": span.id, "name": span.name, "kind": _KINDS[span.kind], "flags": 1,
        "startTimeUnixNano": str(span.began), "endTimeUnixNano": str(span.ended),
        "attributes": _attributes(span.attributes)}
    if span.parent:
        told["parentSpanId"] = span.parent
    if span.error:
        told["status"] = {"code": _ERROR, "message": span.error[:_LONGEST_TEXT]}
    return told


def _attributes(known: Mapping[str, str | int]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else
             {"stringValue": value[:_LONGEST_TEXT]}} for key, value in known.items() if value != ""]
