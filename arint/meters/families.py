"""Every metric that ARINT's workers count, by Prometheus's rules for names: base units, `_total` for counters.

The agent adds the labels `worker` and `service`. (`instance` and `job` are Prometheus's own.)
"""

from __future__ import annotations

from arint.meters.meter import Counter, Gauge, Histogram

STAGE_ATTEMPTS = Counter(
    "arint_stage_attempts_total", "Attempts of stages that came to an end, by outcome (as in `arintctl events`).",
    ("flow", "stage", "outcome"))
STAGE_DURATION = Histogram(
    "arint_stage_attempt_duration_seconds", "From the start of an attempt until its outputs were stored, or it failed.",
    ("flow", "stage"))
STAGE_WAITING = Gauge(
    "arint_stage_messages_waiting",
    "Messages that wait for a stage or are in it; each runner tells the same, so take max.",
    ("flow", "stage"))
STORE_DURATION = Histogram(
    "arint_store_duration_seconds", "From the wish to store a message until the broker had it on disk.")
CHANNEL_REQUESTS = Counter(
    "arint_channel_requests_total", "Requests that HTTP channels answered, by status; no channel where none was meant.",
    ("channel", "status"))
CHANNEL_DURATION = Histogram(
    "arint_channel_request_duration_seconds", "From a request's headers to its answer.", ("channel",))
CALL_DURATION = Histogram(
    "arint_service_call_duration_seconds", "Calls of a service's code that returned, without the wait for a slot.",
    ("called",))
DELIVERY_DURATION = Histogram(
    "arint_delivery_duration_seconds", "Deliveries over a connection that it took.", ("connection",))
SPANS = Counter(
    "arint_trace_spans_total", "Spans by what became of them: exported, or dropped (the collector is away or refuses).",
    ("outcome",))
