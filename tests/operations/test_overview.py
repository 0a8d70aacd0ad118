from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint.errors import ArintError, UnreachableError
from arint.home import Home, NodeConfig
from arint.operations import open_letters
from arint.operations.agent import AgentStatus, EngineStatus, InstanceStatus
from arint.operations.connect import Link
from arint.operations.following import Following, look
from arint.operations.overview import MOST_FAILURES, Overview, Rates, overview_of
from arint.operations.standing import standing_of, standings
from arint.ports import Ports


def one(**fields: object) -> InstanceStatus:
    return msgspec.structs.replace(InstanceStatus("price-1", "price", "service", "box", "ready", pid=7), **fields)


def at(second: float, *instances: InstanceStatus, before: Overview | None = None, elapsed: float = 1.0,
       **fields: object) -> Overview:
    status = msgspec.structs.replace(AgentStatus(node="box", cluster="c", ready=True, instances=instances), **fields)
    return overview_of(standing_of(status), before, at=second, elapsed=elapsed)


def test_the_first_look_knows_no_rates() -> None:
    first = at(0, one(processed=5000))
    assert first.totals.rates is None
    assert first.services[0].rates is None
    assert first.interval == 0


def test_two_looks_make_rates_over_the_time_between() -> None:
    first = at(0, one(processed=1000, failed=1, accepted=0))
    second = at(2, one(processed=1500, failed=3), before=first, elapsed=2.0)
    assert second.instances[0].rates == Rates(accepted=0, processed=250, failed=1, dead=0)
    assert second.totals.rates == second.services[0].rates == second.instances[0].rates
    assert second.interval == 2.0


def test_a_new_process_has_no_rate_and_takes_none_away() -> None:
    first = at(0, one(processed=1000))
    second = at(1, one(processed=10, pid=8, restarts=1), before=first)
    assert second.instances[0].rates is None
    third = at(2, one(processed=30, pid=8, restarts=1), before=second)
    assert third.totals.rates == Rates(processed=20)


def test_a_restarted_agent_that_has_not_heard_of_the_worker_yet_makes_no_peak() -> None:
    first = at(0, one(processed=1_000_000, failed=9))
    adopted = at(1, one(processed=0, state="starting"), before=first)
    assert adopted.totals.counts.processed == 1_000_000
    heard = at(2, one(processed=1_000_400, failed=9), before=adopted)
    assert heard.totals.rates is None or heard.totals.rates.processed <= 400
    assert not heard.failures
    # and where the console itself came only now
    heard = at(2, one(processed=1_000_400, failed=9), before=at(1, one(state="starting")))
    assert heard.totals.rates is None
    assert not heard.failures


def test_lines_out_of_one_buffer_do_not_make_rates() -> None:
    first = at(0, one(processed=0))
    second = at(1, one(processed=100), before=first)
    third = at(1, one(processed=200), before=second, elapsed=0.0)
    assert third.totals.rates == second.totals.rates
    assert at(2, one(processed=300), before=third).totals.rates == Rates(processed=100)


def test_services_sum_their_instances_and_say_how_they_stand() -> None:
    found = at(0, one(), one(instance="price-2", state="failed", error="Traceback\nKeyError: 'x'"),
               one(instance="price-3", state="draining"), one(instance="runner-1", service="system/runner"))
    price, runner = found.services
    assert (price.service, price.state, price.ready, price.instances) == ("price", "degraded", 1, 2)
    assert price.error.endswith("KeyError: 'x'")
    assert (runner.service, runner.state) == ("system/runner", "ready")
    assert (found.totals.ready, found.totals.instances) == (2, 3)


@pytest.mark.parametrize(("states", "expected"), [
    (["ready"], "ready"), (["starting", "ready"], "starting"), (["failed"], "failed"),
    (["failed", "ready"], "degraded"),
    (["draining"], "draining"), (["draining", "ready"], "ready"), (["starting", "failed"], "failed")])
def test_the_state_of_a_service(states: list[str], expected: str) -> None:
    found = at(0, *(one(instance=f"price-{number}", state=state) for number, state in enumerate(states)))
    assert found.services[0].state == expected


def test_a_version_that_failed_beside_the_one_that_serves() -> None:
    served, failed = one(version="a", processed=10), one(version="b", state="failed", pid=0, error="boom")
    first = at(0, served, failed)
    second = at(1, msgspec.structs.replace(served, processed=15), failed, before=first)
    assert second.totals.rates is not None
    assert second.totals.rates.processed == 5
    assert [(item.who, item.kind, item.count) for item in second.failures] == [("price-1", "failed", 1)]


def test_circuits_are_by_connection_from_the_earliest() -> None:
    found = at(50, one(circuits={"partner": 40.0}), one(instance="runner-1", circuits={"partner": 30.0, "mail": 45.0}))
    assert [(item.connection, item.since, item.instances) for item in found.circuits] == [
        ("partner", 30.0, ("price-1", "runner-1")), ("mail", 45.0, ("runner-1",))]
    assert found.totals.open_circuits == 2


def test_failures_are_told_once_with_how_often() -> None:
    ready = EngineStatus("nats", 1, "2", True)
    seen = at(0, one(), engines=(ready,))
    assert not seen.failures
    seen = at(1, one(failed=2), engines=(msgspec.structs.replace(ready, ready=False, error="it hangs"),), before=seen)
    seen = at(2, one(failed=5, dead=1, circuits={"partner": 1.5}), before=seen,
              engines=(msgspec.structs.replace(ready, pid=2, restarts=1),))
    seen = at(3, one(failed=5, dead=1, circuits={"partner": 1.5}), before=seen,
              engines=(msgspec.structs.replace(ready, pid=2, restarts=1),))
    assert {(item.who, item.kind): (item.count, item.at) for item in seen.failures} == {
        ("price-1", "attempts"): (5, 2), ("price-1", "dead letters"): (1, 2), ("partner", "circuit"): (1, 1.5),
        ("nats", "not ready"): (1, 1), ("nats", "restarted"): (1, 2)}
    assert [item.at for item in seen.failures] == sorted((item.at for item in seen.failures), reverse=True)


def test_a_crash_loop_is_counted_with_its_last_words() -> None:
    seen = at(0, one())
    for second in range(1, 4):
        seen = at(second, one(pid=7 + second, restarts=second, state="starting", error="log:\nkilled"), before=seen)
    assert [(item.kind, item.count, item.text) for item in seen.failures] == [("restarted", 3, "killed")]


def test_failures_are_bounded() -> None:
    many = [one(instance=f"x-{number}", state="failed") for number in range(MOST_FAILURES * 3)]
    assert len(at(0, *many).failures) == MOST_FAILURES


instances = st.lists(st.builds(
    InstanceStatus, st.sampled_from(["a-1", "a-2", "b-1"]), st.sampled_from(["a", "b"]), st.just("service"),
    st.just("box"), st.sampled_from(["starting", "ready", "draining", "failed"]), pid=st.integers(0, 3),
    processed=st.integers(0, 2**40), failed=st.integers(0, 9), dead=st.integers(0, 9), restarts=st.integers(0, 3),
    circuits=st.dictionaries(st.sampled_from(["p", "q"]), st.floats(0, 100)), error=st.sampled_from(["", "x\ny"])),
    unique_by=lambda item: item.instance)


@given(st.lists(st.tuples(instances, st.floats(0, 10)), min_size=1, max_size=6))
def test_whatever_comes_rates_are_never_negative_and_the_whole_is_json(looks: list[tuple[list[InstanceStatus], float]],
                                                                       ) -> None:
    seen: Overview | None = None
    for second, (found, elapsed) in enumerate(looks):
        seen = at(second, *found, before=seen, elapsed=elapsed)
        for item in (*seen.instances, *seen.services, seen.totals):
            assert item.rates is None or min(msgspec.structs.astuple(item.rates)) >= 0
        keys = [(failure.who, failure.kind) for failure in seen.failures]
        assert len(keys) == len(set(keys))
        assert msgspec.json.decode(msgspec.json.encode(seen), type=Overview) == seen


class Talker:
    """An agent's socket that says what it is told to, a line for each question."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.lines: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked = await reader.readline()
        if self.lines:
            writer.write(self.lines.pop(0) + b"\n")
        writer.close()


async def untold(link: Link) -> None:
    """No broker runs beside a talker."""


@pytest.fixture
async def talker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Talker]:
    monkeypatch.setattr("arint.operations.standing.open_letters", untold)
    home = Home(tmp_path / "home")
    home.make_folders()
    home.save(NodeConfig(version="0", cluster="c", node="box", ports=Ports(), created=0.0))
    talker = Talker(home)
    async with await asyncio.start_unix_server(talker.serve, home.socket):
        yield talker


async def test_following_goes_on_where_it_was_when_the_agent_comes_back(talker: Talker) -> None:
    ticks = iter([10.0, 11.0, 15.0])
    async with Link(talker.home) as link:
        following = Following(lambda: standings(link), clock=lambda: 100.0, ticks=lambda: next(ticks))
        seen: list[Rates | None] = []

        async def follow(*counts: int) -> None:
            talker.lines = [msgspec.json.encode(AgentStatus(node="box", instances=(one(processed=done),)))
                            for done in counts]
            with pytest.raises(UnreachableError):
                async for overview in following.follow():
                    seen.append(overview.totals.rates)

        await follow(0, 50)
        assert seen == [None, Rates(processed=50)]
        assert msgspec.json.decode(talker.asked) == {"type": "query", "what": "cluster"}
        await follow(450)
        assert seen[2:] == [Rates(processed=100)]


async def test_a_broker_that_does_not_answer_holds_up_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_letters, "PATIENCE", 0.01)
    asked: list[bool] = []

    async def ask() -> int | None:
        asked.append(True)
        if len(asked) == 2:
            await asyncio.Event().wait()
        return 7

    async with open_letters.OpenLetters(ask) as letters:
        assert [await letters.latest() for _ in range(4)] == [7, 7, 7, 7]
        assert len(asked) == 2, "one question at a time"
    assert not [task for task in asyncio.all_tasks() if "ask" in repr(task.get_coro())], "none is left behind"
    seen = overview_of(msgspec.structs.replace(standing_of(AgentStatus(node="box")), dead_letters=7), at=0)
    assert seen.totals.dead_letters == 7


@pytest.mark.parametrize("line", [b"nonsense", b'{"node": 7}', b"[" * 10_000, b"\xff\xfe", b'"' + b"x" * 2**24])
async def test_a_garbled_agent_is_an_error_of_ours(talker: Talker, line: bytes) -> None:
    talker.lines = [line]
    async with Link(talker.home) as link:
        with pytest.raises(ArintError):
            _ = [seen async for seen in Following(lambda: standings(link)).follow()]


async def test_a_look_is_the_second_of_two(talker: Talker) -> None:
    talker.lines = [msgspec.json.encode(AgentStatus(node="box", instances=(one(processed=done),))) for done in (1, 2)]
    async with Link(talker.home) as link:
        assert (await look(link)).totals.counts.processed == 2
        talker.lines = []
        with pytest.raises(UnreachableError):
            await look(link)


def test_what_other_nodes_say_of_themselves_counts_more_than_what_they_registered() -> None:
    own = AgentStatus(node="box", cluster="c", ready=True, members={"box": True, "far": True, "gone": False},
                      instances=(one(), one(instance="price-2", node="far", processed=1)),
                      engines=(EngineStatus("nats", ready=True),))
    far = AgentStatus(node="far", cluster="c", ready=True, engines=(EngineStatus("nats"),),
                      instances=(one(instance="price-2", node="far", processed=7),))
    found = standing_of(own, {"far": far})
    assert [(node.node, node.state) for node in found.nodes] == [("box", "ready"), ("far", "ready"), ("gone", "away")]
    assert [(item.instance, item.processed) for item in found.instances] == [("price-1", 0), ("price-2", 7)]
    assert [(engine.node, engine.ready) for engine in found.engines] == [("box", True), ("far", False)]
    assert not found.ready
    silent = standing_of(own, {"far": "no answer within 1.5 s"})
    assert [(node.state, node.error) for node in silent.nodes[1:2]] == [("silent", "no answer within 1.5 s")]
    assert [item.processed for item in silent.instances] == [0, 1]


def test_a_node_that_goes_away_is_told_once() -> None:
    there, gone = ({"box": True, "far": lives} for lives in (True, False))
    far = AgentStatus(node="far", ready=True)
    first = overview_of(standing_of(AgentStatus(node="box", ready=True, members=there), {"far": far}), at=0)
    second = overview_of(standing_of(AgentStatus(node="box", ready=True, members=gone)), first, at=1)
    third = overview_of(standing_of(AgentStatus(node="box", ready=True, members=gone)), second, at=2)
    assert [(one.who, one.kind, one.at, one.count) for one in third.failures] == [("far", "away", 1, 1)]
