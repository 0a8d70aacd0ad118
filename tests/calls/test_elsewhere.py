"""Calls to instances on other nodes, over a real broker: the nearest is asked, and another where that one is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from arint.answers import VARIABLE
from arint.bus import requests
from arint.bus.connection import Bus, Subscription
from arint.bus.subjects import rpc, rpc_at
from arint.calls.elsewhere import Elsewhere
from arint.errors import NobodyError, RejectedError, UnreachableError
from arint.home import Home
from arint.message import Message
from arint.registry import directory
from arint.registry.directory import Directory, Server, directory_of, nearest
from arint.registry.records import Registration
from arint.runtime.control import BusSettings
from tests.servers import NatsServer

TARGET = "service=price"
NEAR = {"n2": 0.0005, "n3": 0.0009, "n4": 0.050}


class Scene:
    """A caller on n1, and instances elsewhere that say who they are; those in `hang` never answer."""

    def __init__(self, home: Home, bus: Bus) -> None:
        self.home, self.bus = home, bus
        self.elsewhere = Elsewhere(home, bus)
        self.asked: list[str] = []
        self.hang: set[str] = set()
        self.fail: set[str] = set()
        self.open: dict[str, Subscription] = {}
        self.servers: dict[str, Server] = {}

    async def serve(self, instance: str, node: str) -> None:
        async def answerer(message: Message, left: float) -> Message:
            self.asked.append(instance)
            if instance in self.hang:
                await asyncio.Event().wait()
            if instance in self.fail:
                raise UnreachableError("its own database is away")
            return message.derive("price", 0, body=instance.encode())

        self.open[instance] = await requests.answer(self.bus, rpc_at(TARGET, instance), answerer)
        self.servers[instance] = Server(instance, node, 1, True)
        self.write()

    def write(self, *gone: str) -> None:
        for one in gone:
            del self.servers[one]
        directory.write(self.home, Directory({"price": tuple(self.servers.values())}, NEAR))

    async def ask(self, method: str = "POST", timeout: float = 10.0) -> str:
        message = Message.new(b"{}")
        message.variables = {VARIABLE: {"method": method}}
        deadline = asyncio.get_running_loop().time() + timeout
        return bytes((await self.elsewhere.ask(TARGET, message, deadline)).message.body).decode()


@pytest.fixture
async def scene(tmp_path: Path, nats_server: NatsServer) -> AsyncIterator[Scene]:
    home = Home(tmp_path / "home")
    home.make_folders()
    async with await Bus.connect(BusSettings((nats_server.server,), "", "", ""), name="test") as bus:
        scene = Scene(home, bus)
        yield scene
        for subscription in scene.open.values():
            await subscription.close(0.0)


async def test_the_near_ones_are_asked_and_share_the_work(scene: Scene) -> None:
    for instance, node in (("price-2", "n2"), ("price-3", "n3"), ("price-4", "n4")):
        await scene.serve(instance, node)
    answers = {await scene.ask() for _ in range(40)}
    assert answers == {"price-2", "price-3"}


async def test_one_that_has_left_is_passed_over_and_nobody_is_told_as_that(scene: Scene) -> None:
    await scene.serve("price-2", "n2")
    await scene.serve("price-4", "n4")
    await scene.open["price-2"].close()  # it left; the directory does not know yet
    assert {await scene.ask() for _ in range(10)} == {"price-4"}
    await scene.open["price-4"].close()
    with pytest.raises(NobodyError):
        await scene.ask()


async def test_without_a_directory_any_that_the_bus_knows_answers(scene: Scene) -> None:
    async def answerer(message: Message, left: float) -> Message:
        return message.derive("price", 0, body=b"any")

    scene.open["any"] = await requests.answer(scene.bus, rpc("price"), answerer)
    assert await scene.ask() == "any"


async def test_a_death_is_made_up_for_where_asking_twice_does_no_harm_and_told_where_it_might(scene: Scene) -> None:
    await scene.serve("price-2", "n2")
    await scene.serve("price-4", "n4")
    scene.hang = {"price-2"}
    for method, again in (("GET", True), ("POST", False)):
        scene.asked.clear()
        asking = asyncio.create_task(scene.ask(method))
        async with asyncio.timeout(5):
            while scene.asked != ["price-2"]:
                await asyncio.sleep(0.01)
        there = scene.servers["price-2"]
        scene.write("price-2")
        if again:
            assert await asking == "price-4"
        else:
            with pytest.raises(UnreachableError, match="ended before it answered"):
                await asking
            assert scene.asked == ["price-2"]
        scene.servers["price-2"] = there
        scene.write()


async def test_what_is_raised_there_is_told_and_asked_once(scene: Scene) -> None:
    await scene.serve("price-2", "n2")
    await scene.serve("price-3", "n3")
    scene.fail = {"price-2", "price-3"}
    with pytest.raises(UnreachableError, match="its own database is away"):
        await scene.ask("GET")
    assert len(scene.asked) == 1


async def test_one_that_leaves_under_load_answers_all_that_it_was_sent(scene: Scene) -> None:
    await scene.serve("price-2", "n2")
    await scene.serve("price-3", "n3")
    ended = asyncio.Event()
    answers: list[str] = []

    async def caller() -> None:
        while not ended.is_set():
            answers.append(await scene.ask())

    async def until_answered_by(instance: str) -> None:
        since = len(answers)
        async with asyncio.timeout(20):
            while answers[since:].count(instance) < 50:
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(16):
            tasks.create_task(caller())
        for _ in range(5):
            await until_answered_by("price-2")
            await scene.open["price-2"].close()
            await until_answered_by("price-3")
            await scene.serve("price-2", "n2")
        ended.set()


def test_two_choices_take_the_less_busy_of_the_near() -> None:
    servers = [Server(f"a-{number}", node, 1, True) for number, node in enumerate(("n2", "n3", "n4"))]
    pick = Random(7).randrange
    chosen = [nearest(servers, NEAR, {"a-0": 5}, pick) for _ in range(20)]
    assert {one.instance for one in chosen if one is not None} == {"a-1"}
    assert nearest([Server("a-9", "n9", 1, False)], {}, {}, pick) is None
    unknown = nearest([Server("a-9", "n9", 1, True)], {}, {}, pick)
    assert unknown is not None and unknown.instance == "a-9"


def test_the_directory_holds_who_lives_elsewhere() -> None:
    found = [Registration(instance=f"price-{number}", service="price", version="v", node=node, state=state, pid=7)
             for number, node, state in [(1, "n1", "ready"), (2, "n2", "ready"), (3, "n3", "ready"),
                                         (4, "n2", "starting"), (5, "n2", "draining")]]
    made = directory_of(found, ["n1", "n2"], "n1", {"n2": 0.001})
    assert made.servers == {"price": (Server("price-2", "n2", 7, True), Server("price-5", "n2", 7, False))}


async def test_an_answer_that_rejects_is_its_own(scene: Scene) -> None:
    async def answerer(message: Message, left: float) -> Message:
        raise RejectedError("no such price")

    scene.open["price-2"] = await requests.answer(scene.bus, rpc_at(TARGET, "price-2"), answerer)
    scene.servers["price-2"] = Server("price-2", "n2", 1, True)
    scene.write()
    with pytest.raises(RejectedError, match="no such price"):
        await scene.ask()
