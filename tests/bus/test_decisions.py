"""Retry and circuit: pure."""

from hypothesis import given
from hypothesis import strategies as st

from arint.bus.circuit import Circuit
from arint.bus.retry import SHORTEST, ceiling, next_delay


def test_the_wait_doubles_up_to_the_longest():
    assert [ceiling(attempt, "1s..5m") for attempt in (1, 2, 3, 8, 9, 10, 10_000)] == [1, 2, 4, 128, 256, 300, 300]


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_delay_is_drawn_below_the_ceiling(attempt, drawn):
    delay = next_delay(attempt, "100ms..1h", lambda: drawn)
    assert SHORTEST <= delay <= max(ceiling(attempt, "100ms..1h"), SHORTEST)


def test_jitter_spreads_a_crowd():
    delays = [next_delay(5, "1s..5m") for _ in range(1000)]
    assert min(delays) < 4 and max(delays) > 12


def test_a_circuit_opens_at_the_first_failure_and_closes_at_a_good_probe():
    circuit = Circuit(random=lambda: 0.0)
    assert circuit.closed and not circuit.probe(0) and circuit.wait(0) == 0
    assert circuit.failed(100.0, reason="refused")
    assert (circuit.state, circuit.since, circuit.next_probe, circuit.reason) == ("open", 100.0, 100.5, "refused")
    assert not circuit.probe(100.4) and circuit.wait(100.4) > 0
    assert circuit.probe(100.5) and circuit.state == "half-open"
    assert not circuit.probe(100.6), "only one probe at a time"
    assert circuit.succeeded() and circuit.closed and circuit.away_for(200) == 0


def test_probes_grow_rarer_up_to_thirty_seconds():
    circuit, now, waits = Circuit(random=lambda: 0.0), 0.0, []
    circuit.failed(now)
    for _ in range(10):
        waits.append(circuit.wait(now))
        now = circuit.next_probe
        assert circuit.probe(now)
        assert not circuit.failed(now), "it was open already"
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert circuit.away_for(now) == now


def test_the_systems_own_time_is_kept():
    circuit = Circuit(random=lambda: 0.0)
    circuit.failed(0.0, retry_after=60)
    assert not circuit.probe(59.9) and circuit.probe(60)


def test_late_answers_of_calls_from_before_neither_close_nor_count():
    circuit = Circuit(random=lambda: 0.0)
    circuit.failed(0.0)
    assert not circuit.failed(0.1) and circuit.next_probe == 0.5
    assert not circuit.succeeded() and circuit.state == "open"


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from(["fail", "good", "probe"])), max_size=60))
def test_a_circuit_never_hangs_open(events):
    circuit, now = Circuit(), 1.0
    for passed, event in events:
        now += passed
        if event == "fail":
            circuit.failed(now)
        elif event == "good":
            circuit.succeeded()
        else:
            circuit.probe(now)
        assert circuit.wait(now) <= 30
        assert circuit.closed == (circuit.since == 0.0)
    if circuit.state == "open":
        assert circuit.probe(now + 30)
    if circuit.state == "half-open":
        assert circuit.succeeded() and circuit.closed
