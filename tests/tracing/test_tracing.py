"""Spans: their ids, what a collector reads of them, and that nobody waits for a collector."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint.message import Message
from arint.meters.families import SPANS
from arint.ports import free_port
from arint.tracing import exporter as exporting
from arint.tracing.context import TraceContext, derived_span, derived_trace, is_chosen, parse
from arint.tracing.exporter import Exporter
from arint.tracing.otlp import traces_url
from arint.tracing.span import Span
from arint.tracing.tracer import Tracer
from tests.tracing.collector import Collector

hexes = st.text(alphabet="0123456789abcdef")
CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@given(trace=hexes.filter(lambda text: len(text) == 32) | st.just("1" * 32), span=st.just("a" * 16),
       sampled=st.booleans())
def test_a_context_is_read_as_it_is_written(trace: str, span: str, sampled: bool) -> None:
    context = TraceContext(trace, span, sampled)
    assert parse(context.traceparent) == (context if trace.strip("0") else None)


@pytest.mark.parametrize("text", [
    "", "nonsense", CALLER.upper(), CALLER + "-more", CALLER[:-1], "ff" + CALLER[2:], " " + CALLER,
    CALLER.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32), CALLER.replace("00f067aa0ba902b7", "0" * 16),
    CALLER + "\n"])
def test_what_is_no_context_is_none(text: str) -> None:
    assert parse(text) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert parse("01" + CALLER[2:] + "-what-comes") == parse(CALLER)


@given(st.text())
def test_ids_are_derived_the_same_each_time(root: str) -> None:
    trace = derived_trace(root)
    assert trace == derived_trace(root) and len(trace) == 32 and int(trace, 16)
    assert derived_span(trace, "accept", root) == derived_span(trace, "accept", root)
    assert derived_span(trace, "accept", root) != derived_span(trace, "call", root)
    assert is_chosen(trace, 1.0) and not is_chosen(trace, 0.0)


def test_about_so_many_are_chosen_and_always_the_same() -> None:
    traces = [derived_trace(str(number)) for number in range(2000)]
    chosen = {trace for trace in traces if is_chosen(trace, 0.25)}
    assert 400 < len(chosen) < 600
    assert chosen <= {trace for trace in traces if is_chosen(trace, 0.5)}


def test_what_a_message_meets_hangs_together() -> None:
    spans: list[Span] = []
    tracer = Tracer(spans.append)
    message = Message.new(b"{}", traceparent=CALLER)
    tracer.enter(message, "accept", "orders-in", 1.0)
    accepted = message.traceparent
    tracer.end(accepted)
    tracer.begin(message, "orders start", "consumer", "stage", 1)
    with tracer.around(message, "send connection/crm", "client", "send") as sent:
        assert sent.traceparent != message.traceparent
    tracer.end(message.traceparent, outcome="done")
    accept, send, stage = spans
    assert (accept.trace, accept.parent, accept.began) == (CALLER[3:35], CALLER[36:52], 10**9)
    assert stage.parent == accept.id and send.parent == stage.id
    assert stage.attributes["arint.outcome"] == "done"
    assert all(span.ended >= span.began for span in spans)


def test_the_callers_decision_is_honoured() -> None:
    spans: list[Span] = []
    tracer = Tracer(spans.append, ratio=1.0)
    message = Message.new(b"{}", traceparent=CALLER[:-2] + "00")
    tracer.enter(message, "accept", "orders-in", 1.0)
    tracer.begin(message, "orders start", "consumer", "stage", 1)
    assert message.traceparent == CALLER[:-2] + "00"
    tracer.end(message.traceparent)
    never = Message.new(b"{}")
    Tracer(spans.append, ratio=0.0).enter(never, "accept", "orders-in", 1.0)
    assert never.traceparent == ""
    sampled = Message.new(b"{}", traceparent=CALLER)
    zero = Tracer(spans.append, ratio=0.0)
    zero.enter(sampled, "accept", "orders-in", 1.0)
    zero.end(sampled.traceparent)
    assert [span.trace for span in spans] == [CALLER[3:35]]


def test_the_same_attempt_is_the_same_span() -> None:
    spans: list[Span] = []
    message = Message.new(b"{}", traceparent=CALLER)
    for _ in range(2):
        again = Message.new(b"{}", id=message.id, traceparent=CALLER)
        tracer = Tracer(spans.append)
        tracer.begin(again, "orders start", "consumer", "stage", 1)
        tracer.end(again.traceparent)
    assert spans[0].id == spans[1].id


async def test_a_failure_is_told() -> None:
    async with Collector() as collector:
        exporter = Exporter(collector.url, {"service.name": "price"})
        tracer = Tracer(exporter.put)
        message = Message.new(b"{}", traceparent=CALLER)
        with pytest.raises(ValueError, match="no price"), tracer.around(message, "call", "server", "call"):
            raise ValueError("no price")
        await exporter.close()
        [span] = collector.spans
        assert (span.name, span.status.code, span.status.message) == ("call", 2, "no price")
        assert collector.resources[0]["service.name"] == "price"
        assert span.trace_id.hex() == CALLER[3:35] and span.parent_span_id.hex() == CALLER[36:52]
        assert span.kind == 2 and span.end_time_unix_nano >= span.start_time_unix_nano > 10**18


async def test_a_collector_that_is_away_costs_spans_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "MOST_WAITING", 100)
    dropped = SPANS.at("dropped").value
    exporter = Exporter(f"http://127.0.0.1:{free_port()}", {})
    for number in range(150):
        exporter.put(span(number))
    assert not await exporter.flush()
    assert SPANS.at("dropped").value - dropped == 50
    await exporter.close(0.2)
    assert SPANS.at("dropped").value - dropped == 150


async def test_what_waited_is_exported_once_the_collector_is_back() -> None:
    async with Collector() as collector:
        exporter = Exporter(collector.url, {}, interval=0.01)
        running = asyncio.create_task(exporter.run())
        collector.answer = 503
        exporter.put(span(1))
        await collector.until(lambda: collector.requests >= 2)
        assert not collector.spans
        collector.answer = 200
        await collector.until(lambda: len(collector.spans) == 1)
        running.cancel()
        await asyncio.wait([running])
        await exporter.close()


@pytest.mark.parametrize(("answer", "body", "exported", "dropped"), [
    (400, b"", 0, 2), (200, b'{"partialSuccess": {"rejectedSpans": "1"}}', 1, 1), (200, b"not json", 2, 0)])
async def test_what_is_refused_is_counted(answer: int, body: bytes, exported: int, dropped: int) -> None:
    before = SPANS.at("exported").value, SPANS.at("dropped").value
    async with Collector() as collector:
        collector.answer, collector.body = answer, body
        exporter = Exporter(collector.url, {})
        exporter.put(span(1))
        exporter.put(span(2))
        assert await exporter.flush()
        await exporter.close()
    assert (SPANS.at("exported").value - before[0], SPANS.at("dropped").value - before[1]) == (exported, dropped)


def test_the_address_of_traces() -> None:
    assert traces_url("http://h:4318") == traces_url("http://h:4318/") == "http://h:4318/v1/traces"
    assert traces_url("http://h:4318/v1/traces") == "http://h:4318/v1/traces"


def span(number: int) -> Span:
    return Span(trace="1" * 32, id=f"{number:016x}", name="one", kind="internal", began=1, ended=2,
                attributes={"n": number, "text": "ä" * 2000, "empty": ""})
