from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from arint.registry.lookup import serving
from arint.registry.publisher import BURST, COUNTERS_INTERVAL, Publisher
from arint.registry.records import Registration


def registration(state: str = "ready", **more: object) -> Registration:
    given = {"instance": "a-1", "service": "a", "version": "v", "node": "n1", "state": state} | more
    return Registration(**given)  # type: ignore[arg-type]


def test_state_goes_at_once_counters_seldom() -> None:
    publisher = Publisher()
    starting, ready = registration("starting"), registration()
    assert publisher.due({"a-1": starting}, 0.0) == ([starting], [])
    publisher.written(starting, 0.0)
    assert publisher.due({"a-1": ready}, 0.1) == ([ready], [])
    publisher.written(ready, 0.1)
    counted = registration(processed=5)
    assert publisher.due({"a-1": counted}, 5.0) == ([], [])
    assert publisher.next_due({"a-1": counted}) == 0.1 + COUNTERS_INTERVAL
    assert publisher.due({"a-1": counted}, 5.2) == ([counted], [])
    assert publisher.due({"a-1": ready}, 60.0) == ([], []), "nothing new"
    assert publisher.next_due({"a-1": ready}) is None


def test_what_is_gone_is_deleted_until_it_is_done() -> None:
    publisher = Publisher()
    publisher.found(registration())
    assert publisher.due({}, 0.0) == ([], [registration()])
    assert publisher.due({}, 1.0) == ([], [registration()])
    publisher.deleted("a-1")
    assert publisher.due({}, 2.0) == ([], [])
    publisher.found(registration())
    publisher.forget()
    assert publisher.due({"a-1": registration()}, 3.0) == ([registration()], [])


@given(st.lists(st.tuples(st.floats(0.01, 2.0), st.sampled_from(["ready", "failed", "starting"]), st.integers(0, 3)),
                min_size=1, max_size=100))
def test_never_more_than_a_write_a_second_beyond_the_burst_and_the_last_state_arrives(
        changes: list[tuple[float, str, int]]) -> None:
    publisher, now, writes = Publisher(), 0.0, []
    current = registration()
    for wait, state, processed in changes:
        now += wait
        current = registration(state, processed=processed)
        for one in publisher.due({"a-1": current}, now)[0]:
            publisher.written(one, now)
            writes.append(now)
    assert all(later - earlier >= BURST - 1e-6 for earlier, later in zip(writes, writes[BURST:], strict=False))
    due = publisher.next_due({"a-1": current})
    if due is not None:
        assert due <= now + COUNTERS_INTERVAL
        assert publisher.due({"a-1": current}, due)[0] == [current]


def test_the_near_and_ready_come_first() -> None:
    found = [registration(instance="a-1", node="n1"), registration(instance="a-2", node="n2"),
             registration(instance="a-3", node="n2", state="failed"), registration(instance="b-1", service="b")]
    assert [one.instance for one in serving(found, "a", near="n2")] == ["a-2", "a-1"]
    assert serving(found, "c") == []
    assert msgspec.json.decode(msgspec.json.encode(found[2]), type=Registration) == found[2]
