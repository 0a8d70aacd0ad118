"""The real agent with real etcd and NATS, and fake workers: it starts, survives, adopts, rolls out, leaves nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import msgspec
import pytest

from arint.availability.model import Rollout
from arint.engines.procfs import start_time
from arint.operations.agent import LocalAgent
from arint.registry.records import Alive, Assignment, NodeRecord, Registration
from arint.resources.kinds import Channel, Connection, Flow, Secret, Service, Update
from arint.store.keys import Keys
from arint.store.view import View
from tests.nodeagent.support import Node, make_home, named, of_service
from tests.patience import PATIENCE

KEYS = Keys("test")


def price(node: Node, behave: str = "ready", **more: object) -> Service:
    return Service(name="price", source="price.py:price", code=node.code(), config={"behave": behave}, **more)  # type: ignore[arg-type]


async def test_it_comes_up_and_tells_how_it_stands(node: Node) -> None:
    status = await node.until_ready()
    assert (status.node, status.cluster) == ("n1", "test")
    assert [engine.name for engine in status.engines] == ["etcd", "nats"]
    assert all(engine.ready and engine.pid and engine.version for engine in status.engines)
    runner = named(status, "runner-1")
    assert (runner.service, runner.role, runner.state) == ("system/runner", "runner", "ready")
    assert status.memory <= 45 * 2**20, "DESIGN, section 7"
    async with node.etcd() as etcd:
        record = await etcd.get(KEYS.node("n1"))
        alive = await etcd.get(KEYS.alive("n1"))
        async with View(etcd, KEYS.instances_prefix(), Registration) as instances, asyncio.timeout(PATIENCE):
            while instances.snapshot["system/runner/runner-1"].state != "ready":
                await instances.wait_changed()
            registered = await etcd.get(KEYS.instance("system/runner", "runner-1"))
    assert record is not None and msgspec.json.decode(record.value, type=NodeRecord).name == "n1"
    assert alive is not None and alive.lease and msgspec.json.decode(alive.value, type=Alive).pid == status.pid
    assert registered is not None and registered.lease == alive.lease
    assert msgspec.json.decode(registered.value, type=Registration).pid == runner.pid
    followed = []
    async for each in LocalAgent(node.home).follow():
        followed.append(each.node)
        if len(followed) == 2:
            break
    assert followed == ["n1", "n1"]


async def test_instances_get_what_they_need_and_no_other_secret(node: Node) -> None:
    await node.until_ready()
    digests = {name: await node.set_secret(name, name.encode() * 3) for name in ("key", "token", "own", "idle")}
    number = (await node.commit(
        *(Secret(name=name, digest=digest) for name, digest in digests.items()),
        price(node, secrets=["own"]),
        Connection(name="partner", transport="http", spec={"url": "http://localhost", "auth": {"bearer": {
            "secret": "token"}}}),
        Flow(name="orders", steps=[{"call": "service/price"}, {"send": {"to": "connection/partner"}}]),
        Flow(name="other", steps=[{"log": "hello"}]),
        Channel(name="orders-in", to="flow/orders", transport="http",
                spec={"path": "/orders", "auth": {"api_key": {"secret": "key"}}}))).number
    status = await node.until_applied(number)
    assert {one.instance for one in status.instances} == {"admin-1", "runner-1", "http-1", "price-1"}
    served = node.orders("price-1")
    assert served.role == "service" and served.service is not None and served.service.name == "price"
    assert served.code == str(node.home.artifact("c0de" * 16))
    assert [flow.name for flow in served.flows] == ["orders"]
    assert served.secrets == {"own": b"ownownown"}
    runner = node.orders("runner-1")
    assert [flow.name for flow in runner.flows] == ["orders", "other"]
    assert runner.secrets == {"token": b"tokentokentoken"}
    source = node.orders("http-1")
    assert (source.source, source.port) == ("http", node.home.load().ports.http)
    assert source.secrets == {"key": b"keykeykey"}
    assert [channel.name for channel in source.channels] == ["orders-in"]
    assert source.variables["ARINT_DATA"] == str(node.home.data)
    log = node.home.log_file("agent").read_text()
    assert not any(name * 3 in log for name in digests)


async def test_agent_killed_and_back_adopts_everything(node: Node) -> None:
    await node.until_ready()
    await node.until_applied((await node.commit(price(node, replicas=2))).number)
    before = node.pids()
    assert set(before) == {"etcd", "nats", "admin-1", "runner-1", "price-1", "price-2"}
    async with node.etcd() as etcd:
        alive = await etcd.get(KEYS.alive("n1"))
    node.kill_agent()
    assert node.pids() == before, "workers and engines live on"
    node.start()
    status = await node.until(lambda one: one.ready and all(worker.state == "ready" for worker in one.instances)
                              and len(one.instances) == 4)
    assert node.pids() == before
    assert all(worker.restarts == 0 for worker in status.instances)
    async with node.etcd() as etcd:
        again = await etcd.get(KEYS.alive("n1"))
    assert alive is not None and again is not None and again.lease == alive.lease, "the lease was resumed"


async def test_a_worker_whose_assignment_went_while_no_agent_was_there_is_stopped(node: Node) -> None:
    await node.until_ready()
    await node.until_applied((await node.commit(price(node))).number)
    node.kill_agent()
    async with node.etcd() as etcd:
        await etcd.delete(KEYS.assignment("n1", "price-1"))
        pid = node.pids()["price-1"]
    number = (await node.commit()).number
    node.start()
    await node.until(lambda one: one.ready and one.change_set >= number and not of_service(one, "price"))
    assert pid not in node.pids().values()


async def test_killed_workers_and_engines_come_back(node: Node) -> None:
    await node.until_ready()
    await node.until_applied((await node.commit(price(node))).number)
    before = node.pids()
    for name in ("price-1", "etcd", "nats"):
        os.kill(before[name], signal.SIGKILL)
    status = await node.until(lambda one: one.ready and of_service(one, "price") and all(
        worker.state == "ready" for worker in one.instances)
        and not set(before.values()) - {before["runner-1"], before["admin-1"]} & {
        process.pid for process in (*one.engines, *one.instances)})
    assert named(status, "price-1").restarts == 1
    assert {engine.restarts for engine in status.engines} == {1}
    assert named(status, "runner-1").pid == before["runner-1"]
    number = (await node.commit(price(node, replicas=2))).number
    assert len(of_service(await node.until_applied(number), "price")) == 2


async def test_a_new_version_takes_over_and_one_that_fails_does_not(node: Node) -> None:
    await node.until_ready()
    update = Update(healthy_after="100ms")
    await node.until_applied((await node.commit(price(node, update=update))).number)
    pid = node.pids()["price-1"]
    number = (await node.commit(price(node, replicas=2, update=update))).number
    await node.until_applied(number)
    assert node.pids()["price-1"] == pid, "more replicas are no new version"
    number = (await node.commit(price(node, replicas=2, timeout="5s", update=update))).number
    status = await node.until_applied(number)
    assert {one.version for one in of_service(status, "price")}.isdisjoint({""})
    assert pid not in node.pids().values()
    good = {one.version for one in of_service(status, "price")}
    assert len(good) == 1, status
    number = (await node.commit(price(node, behave="fail", replicas=2, update=update))).number
    status = await node.until(lambda one: one.change_set >= number and any(
        worker.state == "failed" for worker in one.instances))
    failed = next(one for one in status.instances if one.state == "failed")
    assert "no module named nowhere" in failed.error
    assert failed.change_set >= number
    async with node.etcd() as etcd:  # while it is given up, and once it is, each look tells of it
        told = 0
        while told < 5:
            rollout = await etcd.get(KEYS.rollout("price"))
            told += bool(rollout and msgspec.json.decode(rollout.value, type=Rollout).failed == failed.version)
            assert failed.error in {one.error for one in of_service(await node.status(), "price")}
    assert {one.version for one in of_service(status, "price") if one.state == "ready"} == good
    assert sum(one.state == "ready" for one in of_service(status, "price")) == 2
    number = (await node.commit(price(node, replicas=1, timeout="6s", update=update))).number
    status = await node.until_applied(number)
    assert len(of_service(status, "price")) == 1, (number, status)


async def test_code_that_is_missing_and_a_worker_that_exits_are_told(node: Node) -> None:
    await node.until_ready()
    lost = Service(name="lost", source="lost.py:run", code="f" * 64)
    await node.commit(lost, price(node, behave="exit"))
    status = await node.until(lambda one: len(one.instances) == 4 and all(
        worker.state == "failed" for worker in one.instances if not worker.service.startswith("system/")))
    assert named(status, "lost-1").error.startswith("cannot fetch the code of service/lost: ")
    assert "not in the cluster's store of code" in named(status, "lost-1").error
    assert "this service does not like it here" in named(status, "price-1").error
    lines = [line.line async for line in LocalAgent(node.home).logs(["price-1"], follow=False, lines=5)]
    assert any("this service does not like it here" in line for line in lines)
    assert [line async for line in LocalAgent(node.home).logs(["../node.json"], follow=False)] == []


async def test_a_paused_agent_loses_its_lease_and_takes_part_again(node: Node) -> None:
    await node.until_ready()
    number = (await node.commit(price(node))).number
    await node.until_applied(number)
    before = node.pids()
    assert node.agent is not None
    async with node.etcd() as etcd:
        node.agent.send_signal(signal.SIGSTOP)
        try:
            async with asyncio.timeout(PATIENCE):
                while await etcd.get(KEYS.alive("n1")) is not None:
                    await asyncio.sleep(0.1)
        finally:
            node.agent.send_signal(signal.SIGCONT)
        await node.until_ready()
        async with asyncio.timeout(PATIENCE):
            while not (found := await etcd.get(KEYS.instance("price", "price-1"))):
                await asyncio.sleep(0.1)
        assigned, _ = await etcd.range(KEYS.assignments_prefix())
    assert msgspec.json.decode(found.value, type=Registration).state == "ready"
    names = {msgspec.json.decode(one.value, type=Assignment).instance for one in assigned}
    assert names == {"admin-1", "runner-1", "price-1"}
    assert node.pids() == before, "nothing was moved or restarted"


async def test_a_singleton_stops_before_the_lease_can_have_ended_and_the_others_go_on(node: Node) -> None:
    await node.until_ready()
    clock = Service(name="clock", source="x.py:x", code=node.code(), mode="singleton")
    await node.until_applied((await node.commit(clock, price(node))).number)
    before = node.pids()
    os.kill(before["etcd"], signal.SIGSTOP)
    begun = time.monotonic()
    try:
        await node.until(lambda one: "clock-1" not in node.pids())
        assert time.monotonic() - begun < 3.0, "the TTL"
        assert node.pids()["price-1"] == before["price-1"]
    finally:
        os.kill(before["etcd"], signal.SIGCONT)
    await node.until(lambda one: one.ready and [each.state for each in of_service(one, "clock")] == ["ready"])
    assert node.pids()["price-1"] == before["price-1"]


async def test_a_singleton_whose_agent_is_dead_ends_by_itself_within_the_lease(node: Node) -> None:
    await node.until_ready()
    clock = Service(name="clock", source="x.py:x", code=node.code(), mode="singleton")
    await node.until_applied((await node.commit(clock, price(node))).number)
    before = node.pids()
    assert node.agent is not None
    node.agent.kill()
    begun = time.monotonic()
    node.agent.wait()
    async with asyncio.timeout(20):
        while start_time(before["clock-1"]) is not None:
            await asyncio.sleep(0.02)
    assert time.monotonic() - begun < 3.5, "the TTL, and what a loaded machine takes to look"
    assert start_time(before["price-1"]) is not None, "what may run twice goes on"
    node.agent = None
    node.start()
    await node.until(lambda one: one.ready and [each.state for each in of_service(one, "clock")] == ["ready"])
    assert node.pids()["price-1"] == before["price-1"]


async def test_sigterm_leaves_no_process(node: Node) -> None:
    await node.until_ready()
    await node.until_applied((await node.commit(price(node, replicas=2))).number)
    before = node.pids()
    assert await node.stop() == 0
    assert node.pids() == {}
    assert not [pid for pid in before.values() if Path(f"/proc/{pid}").exists()]
    assert not node.home.socket.exists()
    node.start()
    assert len(of_service(await node.until(lambda one: one.ready and len(one.instances) == 4), "price")) == 2


async def test_a_second_agent_is_refused(node: Node) -> None:
    await node.until_ready()
    second = Node(node.home)
    second.start()
    assert second.agent is not None
    assert await asyncio.to_thread(second.agent.wait, 20) == 4
    assert "in use by: the node agent" in node.home.log_file("agent").read_text()
    assert (await node.status()).ready


async def test_without_a_home_it_says_so(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "nodeagent", "--home", str(tmp_path / "none"), stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == 3
    assert b"no node was set up here" in said


@pytest.mark.parametrize("name", ["runner", "http", "etcd"])
async def test_services_may_be_called_as_the_systems_own(tmp_path: Path, name: str) -> None:
    node = Node(make_home(tmp_path / "home"))
    try:
        node.start()
        await node.until_ready()
        service = Service(name=name, source="x.py:x", code=node.code())
        status = await node.until_applied((await node.commit(service)).number)
        assert len(of_service(status, name)) == 1
        assert len(of_service(status, "system/runner")) == 1
    finally:
        node.close()
