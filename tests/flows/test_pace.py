"""When the next may go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arint.flows.pace import Pace

arrivals = st.lists(st.tuples(st.floats(0, 5), st.sampled_from("ab")), max_size=60)


@given(arrivals, st.floats(0.01, 2), st.integers(1, 5))
def test_no_more_than_the_rate_in_any_stretch_of_time(gaps, interval, burst):
    pace, now, slots = Pace(interval, burst), 100.0, {"a": [], "b": []}
    for gap, key in gaps:
        now += gap
        slot = pace.slot(key, now)
        assert slot is not None and slot >= now
        slots[key].append(slot)
    for of_key in slots.values():
        for first in range(len(of_key)):
            for last in range(first, len(of_key)):
                allowed = burst + (of_key[last] - of_key[first]) / interval
                assert last - first + 1 <= allowed + 1e-6


@given(arrivals, st.floats(0.01, 2))
def test_nobody_waits_while_there_is_room(gaps, interval):
    pace, now, last = Pace(interval), 100.0, None
    for gap, _ in gaps:
        now += gap
        slot = pace.slot("a", now)
        assert slot == now or abs(slot - (last + interval)) < 1e-6
        last = slot


def test_what_would_wait_too_long_takes_nothing():
    pace = Pace(1.0)
    assert pace.slot("a", 0.0, within=0.5) == 0.0
    assert pace.slot("a", 0.0, within=0.5) is None
    assert pace.slot("a", 0.0) == 1.0


def test_keys_whose_clock_says_nothing_are_forgotten():
    pace = Pace(1.0)
    for number in range(30_000):
        pace.slot(str(number), number * 10.0)
    assert len(pace._next) <= 10_000
