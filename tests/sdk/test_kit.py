"""The testing kit: a clock that is moved, recordings that are compared, snapshots that are updated."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint import Context, RejectedError, SystemUnavailableError
from arint.errors import NotFoundError, NotValidError
from arint.resources.kinds import Flow, Retry
from arint.testing import Clock, FlowTest, Recording, assert_snapshot, check_recording, run_service
from arint.testing.compare import as_yaml, body_of, difference
from arint.testing.flows import message_of
from arint.testing.masking import MASK, masked
from arint.testing.recording import compare

FLOW = Flow(name="orders", retry=Retry(attempts=4, backoff="1s..3s"), unavailable_for="1h", steps=[
    {"call": "service/price"}, {"set": {"vars.seen": "1"}}, {"send": {"to": "connection/crm"}}])
values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
                      lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


class Failing:
    """Fails so often, then answers."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left, self.error = times, error

    def __call__(self, *_: Any) -> Any:
        self.left -= 1
        if self.left >= 0:
            raise self.error
        return None


def test_a_clock_stands_still_until_it_is_moved() -> None:
    clock = Clock("2026-12-31T23:59:00+01:00")
    assert clock.now == datetime(2026, 12, 31, 22, 59, tzinfo=UTC)
    clock.advance("2m")
    clock.advance(0.5)
    assert clock.passed == 120.5
    assert Clock(datetime(2026, 1, 1)).time() == Clock().time() == Clock(1767225600.0).time()


def test_retries_wait_on_the_clock() -> None:
    clock = Clock()
    test = FlowTest(FLOW, services={"price": {"id": 1}}, connections={"crm": Failing(3, ValueError("no"))}, clock=clock)
    run = test.run({"id": 1})
    assert run.failure is None
    assert [wait.seconds for wait in run.waits] == [1, 2, 3] and {wait.stage for wait in run.waits} == {"2-send-crm"}
    assert clock.passed == 6.0
    assert run.message.created == Clock().time()


def test_a_system_that_is_away_uses_no_attempt_until_it_is_given_up() -> None:
    down = SystemUnavailableError("down")
    clock = Clock()
    run = FlowTest(FLOW, services={"price": {}}, connections={"crm": Failing(20, down)}, clock=clock).run({})
    assert run.failure is None and clock.passed > 600
    run = FlowTest(FLOW, services={"price": {}}, connections={"crm": Failing(10_000, down)}, clock=Clock()).run({})
    assert run.failure is not None and run.failure.kind == "system unavailable"
    assert 3600 <= sum(wait.seconds for wait in run.waits) < 3700


def test_a_service_is_told_the_time_of_the_clock(tmp_path: Path) -> None:
    def late(body: dict[str, Any], ctx: Context) -> dict[str, float]:
        return {"now": ctx.now, "remaining": ctx.remaining}

    clock = Clock(1000.0)
    assert run_service(late, {}, clock=clock, deadline=1030.0).value == {"now": 1000.0, "remaining": 30.0}
    (tmp_path / "late.py").write_text("def late(ctx):\n    return {'left': ctx.remaining, 'now': ctx.now}\n")
    (tmp_path / "all.yaml").write_text("kind: Service\nname: late\nsource: late.py:late\ntimeout: 7s\n---\n"
                                       "kind: Flow\nname: f\nsteps: [{call: service/late}]\n")
    assert FlowTest(tmp_path, clock=clock).run({}).value == {"left": 7.0, "now": 1000.0}


def test_a_recording_is_replayed_and_what_differs_is_told(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text("""
kind: Connection
name: crm
http: {url: "http://crm"}
---
kind: Flow
name: orders
steps:
  - set: {body.total: body.qty * 2}
  - send: {to: connection/crm}
  - log: "{{ message.id }} is done"
""")
    (tmp_path / "one.json").write_text('{"qty": 2}')
    run = FlowTest(tmp_path, clock=Clock()).run(Recording(flow="orders", sample="one.json").message(tmp_path))
    from arint.testing.recording import entered, outcome

    kept = Recording(flow="orders", sample="one.json", expect={**outcome(run), "stages": entered(run)})
    file = tmp_path / "one.json.expected.yaml"
    kept.save(file)
    assert Recording.load(file) == kept
    assert check_recording(file, tmp_path).value == {"qty": 2, "total": 4}
    (tmp_path / "one.json").write_text('{"qty": 3}')
    with pytest.raises(AssertionError, match=r"-\s+total: 4\n(?s:.*)\+\s+total: 6"):
        check_recording(file, tmp_path)
    only = Recording(flow="orders", sample="one.json", expect={"state": "done"})
    only.save(file)
    check_recording(file, tmp_path)
    with pytest.raises(AssertionError, match=r"\+state: dead"):
        check_recording(file, tmp_path, connections={"crm": RejectedError("no")})


def test_what_was_answered_is_part_of_a_recording(tmp_path: Path) -> None:
    kept = Recording(flow="orders", body={"id": 1}, answers={"service/price": {"id": 1, "total": 5}}, expect={})
    test = FlowTest(FLOW, services={"price": {"id": 1, "total": 5}})
    run = test.run(kept.message(tmp_path))
    assert "total" in compare(msgspec_replace(kept, {"sent": []}), run)


def msgspec_replace(recording: Recording, expect: dict[str, Any]) -> Recording:
    return Recording(flow=recording.flow, body=recording.body, answers=recording.answers, expect=expect)


@pytest.mark.parametrize("text", ["", "flow: [", "flow: x\nunknown: 1", "- a", "flow: x\nexpect: 3"])
def test_what_is_no_recording_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(NotValidError, match="no recording"):
        Recording.load(tmp_path / "bad.yaml")
    with pytest.raises(NotFoundError, match="cannot be read"):
        Recording.load(tmp_path / "none.yaml")
    with pytest.raises(NotFoundError, match="sample"):
        Recording(flow="x", sample="none.json").message(tmp_path)


def test_secrets_are_masked_by_name() -> None:
    given = {"Authorization": "x", "apiKey": "x", "user": {"passport": "p", "password": "p"}, "token": "",
             "x-api-key": "x", "monkey": "m", "list": [{"client_secret": "s"}], "tokens_used": 3, "key": "k"}
    assert masked(given) == {
        "Authorization": MASK, "apiKey": MASK, "user": {"passport": "p", "password": MASK}, "token": "",
        "x-api-key": MASK, "monkey": "m", "list": [{"client_secret": MASK}], "tokens_used": 3, "key": "k"}


@given(values)
def test_masking_leaves_the_shape(value: Any) -> None:
    def shape(one: Any) -> Any:
        if isinstance(one, dict):
            return {key: shape(item) if item != MASK else None for key, item in one.items()}
        return [shape(item) for item in one] if isinstance(one, list) else None

    hidden = masked(value)
    assert type(hidden) is type(value)
    assert masked(hidden) == hidden


@given(values)
def test_yaml_gives_back_what_was_written(value: Any) -> None:
    import yaml

    assert yaml.safe_load(as_yaml(value)) == value or "\x85" in as_yaml(value) or "\r" in str(value)
    assert difference(value, value) == ""


def test_bodies_are_shown_as_what_they_are() -> None:
    assert body_of(message_of({"a": 1})) == {"a": 1}
    assert body_of(message_of(b"not json")) == "not json"
    assert body_of(message_of(b"\xff", content_type="application/octet-stream")) == b"\xff"
    assert body_of(message_of(b"")) is None


def test_a_snapshot_is_kept_compared_and_updated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARINT_UPDATE", raising=False)
    run = FlowTest(FLOW, services={"price": {"id": 1, "password": "p"}}).run({"id": 1})
    with pytest.raises(AssertionError, match="no snapshot yet"):
        assert_snapshot(run, "price", folder=tmp_path)
    monkeypatch.setenv("ARINT_UPDATE", "1")
    assert_snapshot(run, "price", folder=tmp_path)
    [file] = tmp_path.iterdir()
    assert file.name == "test_a_snapshot_is_kept_compared_and_updated.price.yaml"
    assert "password: '***'" in file.read_text()
    monkeypatch.delenv("ARINT_UPDATE")
    assert_snapshot(run, "price", folder=tmp_path)
    other = FlowTest(FLOW, services={"price": {"id": 2}}).run({"id": 1})
    with pytest.raises(AssertionError, match=r"--arint-update\n(?s:.*)-\s+id: 1\n(?s:.*)\+\s+id: 2"):
        assert_snapshot(other, "price", folder=tmp_path)


def test_the_option_of_pytest_writes_snapshots_beside_the_test(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "from arint.testing import assert_snapshot\n\n\ndef test_it():\n    assert_snapshot({'total': 3})\n")

    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    alone.pop("ARINT_UPDATE", None)

    def run(*more: str) -> int:
        words = [sys.executable, "-m", "pytest", "-q", "-p", "arint.pytest_plugin", "-p", "no:cacheprovider", *more]
        return subprocess.run(words, cwd=tmp_path, check=False, capture_output=True, env=alone).returncode

    assert run() == 1
    assert run("--arint-update") == 0
    assert (tmp_path / "snapshots/test_it/test_it.yaml").read_text() == "total: 3\n"
    assert run() == 0
