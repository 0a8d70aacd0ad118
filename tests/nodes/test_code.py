"""The code of services reaches the nodes that run them: the orders example on a node where it was never applied."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from arint.artifacts import store
from arint.bus import streams, subjects
from arint.bus.connection import Bus
from arint.home import Home
from arint.operations.connect import Link
from nodeagent.shelf import see_to
from nodeagent.sweeping import Named
from tests.hostile.system import System, eventually
from tests.nodes.joining import admitted
from tests.wheels import make_wheel

ORDERS = Path(__file__).parents[2] / "examples/orders"
ORDER = b'{"id": "A-1", "customer": "c", "lines": [{"article": "hinge", "qty": 2}]}'
ASK = """
kind: Flow
name: {name}
steps:
  - call: service/{name}
---
kind: Channel
name: {name}
http: {{path: /{name}}}
to: flow/{name}
"""
SERVICE = """
kind: Service
name: {name}
source: {name}.py:{name}
placement: {{labels: {{zone: b}}}}
update: {{healthy_after: 100ms}}
{more}
---
"""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("first")) as system:
        yield system


@pytest.fixture(scope="module")
def second(first: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A node with the label `zone=b` and no engines."""
    with System(tmp_path_factory.mktemp("second"), up=False) as system:
        system.ctl("node", "join", "--document", admitted(first, system, labels={"zone": "b"}))
        system.ctl("up")
        eventually(lambda: {one["node"]: one["state"] for one in first.json("node", "list")}.get("n2") == "ready")
        yield system


def write(system: System, name: str, code: str, more: str = "") -> str:
    """A service for the second node, in a folder of its own with a flow and a channel that call it."""
    system.write({f"{name}/{name}.py": f"def {name}(body, ctx):\n    return {code}\n",
                  f"{name}/{name}.yaml": SERVICE.format(name=name, more=more) + ASK.format(name=name).lstrip()})
    return name


def instance(system: System, service: str) -> dict[str, Any]:
    """The only one of a service, as its node shows it."""
    found = [one for one in system.json("status")["instances"] if one["service"] == service
             and one["state"] != "draining"]
    return found[0] if len(found) == 1 else {"state": f"{len(found)} instances", "error": ""}


def until_error(system: System, service: str, words: str) -> None:
    eventually(lambda: words in instance(system, service)["error"], 40.0, lambda: instance(system, service))


def digest_of(system: System, service: str) -> str:
    return str(system.json("get", f"service/{service}")["spec"]["code"])


def on_the_bus(system: System, do: Callable[[Bus], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with Link(Home(system.home)) as link:
            return await do(await link.bus())

    return asyncio.run(run())


def forget_here(system: System) -> None:
    """As if the node had never had any code."""
    for folder in ("artifacts", "requirements", "wheels"):
        shutil.rmtree(system.home / folder)
        (system.home / folder).mkdir(mode=0o700)


def test_the_example_runs_where_it_was_never_applied(first: System, second: System) -> None:
    shutil.copytree(ORDERS, first.folder / "orders")
    manifest = first.folder / "orders/orders.yaml"
    text = manifest.read_text() + "---\n" + ASK.format(name="price").lstrip()
    for name in ("price", "approve"):
        text = text.replace(source := f"source: {name}.py:{name}\n", f"{source}placement: {{labels: {{zone: b}}}}\n")
    manifest.write_text(text)
    (first.folder / "orders/orders.key").write_text("key")
    began = time.monotonic()
    first.ctl("apply", "orders/orders.yaml")
    print(f"from apply to ready on the other node: {time.monotonic() - began:.2f} s")
    for name in ("price", "approve"):
        there = instance(second, name)
        assert (there["node"], there["state"], there["error"]) == ("n2", "ready", "")
        files = second.home / "artifacts" / digest_of(first, name)
        assert {file.name for file in files.glob("*.py")} == {file.name for file in ORDERS.glob("*.py")}
        assert {file.stat().st_mode & 0o777 for file in files.iterdir() if file.is_file()} == {0o644}
    first.wait_state("/price", first.post("/price", ORDER), "done")
    assert "it runs as wanted" in first.ctl("service", "why", "price")


def test_a_new_version_is_rolled_out_and_taken_back(first: System, second: System) -> None:
    first.ctl("apply", write(first, "mark", "1"))
    old, version = digest_of(first, "mark"), instance(second, "mark")["version"]
    began = time.monotonic()
    first.ctl("apply", write(first, "mark", "2"))
    print(f"from a new version to ready on the other node: {time.monotonic() - began:.2f} s")
    assert digest_of(first, "mark") != old
    assert instance(second, "mark")["version"] != version
    shutil.rmtree(second.home / "artifacts" / old)
    first.ctl("rollback")
    assert (instance(second, "mark")["version"], digest_of(first, "mark")) == (version, old)
    assert (second.home / "artifacts" / old / "mark.py").is_file()


def test_packages_travel_too(first: System, second: System) -> None:
    house = first.folder / "coin/wheelhouse"
    make_wheel(house, "coins", "1.1", requires=["metal>=2"])
    make_wheel(house, "metal", "2.0")
    first.ctl("apply", write(first, "coin", "__import__('coins').version", "requirements: [coins]"))
    assert instance(second, "coin")["state"] == "ready"
    assert sorted(file.name for file in second.home.glob("wheels/*/*")) == ["coins-1.1-py3-none-any.whl",
                                                                            "metal-2.0-py3-none-any.whl"]
    first.wait_state("/coin", first.post("/coin"), "done")
    shutil.rmtree(house)
    for folder in ("artifacts", "requirements", "wheels"):  # what the cluster keeps, no index is asked for
        shutil.rmtree(first.home / folder)
        (first.home / folder).mkdir(mode=0o700)
    write(first, "coin", "__import__('coins').version + '!'", "requirements: [coins]")
    first.ctl("apply", "coin")
    first.wait_state("/coin", first.post("/coin"), "done")


def test_an_export_applies_without_the_source(first: System, second: System, tmp_path: Path) -> None:
    first.ctl("apply", write(first, "mark", "9"))
    exported = tmp_path / "all.yaml"
    exported.write_text(first.ctl("export"))
    number, digest = first.json("history")[0]["number"], digest_of(first, "mark")
    first.ctl("apply", write(first, "mark", "10"))
    shutil.rmtree(first.home / "artifacts" / digest)
    first.ctl("apply", str(exported))
    assert digest_of(first, "mark") == digest
    assert first.json("history")[0]["number"] == number + 2
    lost = tmp_path / "lost.yaml"
    lost.write_text(exported.read_text().replace(digest, "ab" * 32))
    assert "nor is the code kept any more, of service/mark" in first.refused("plan", str(lost), code=3)


def test_a_node_that_starts_while_the_server_is_away(first: System, second: System) -> None:
    first.ctl("apply", write(first, "mark", "3"))
    second.ctl("down")
    forget_here(second)
    first.ctl("down")
    starting = second.begin("up")
    first.ctl("up")
    starting.communicate(timeout=60.0)
    eventually(lambda: instance(second, "mark")["state"] == "ready", 60.0, lambda: second.json("status"))
    first.wait_state("/mark", first.post("/mark"), "done")


def test_a_broker_that_is_silent_is_told_of_and_waited_for(first: System, second: System) -> None:
    first.ctl("apply", write(first, "mark", "4"))
    second.ctl("down")
    forget_here(second)
    broker = next(one["pid"] for one in first.json("status")["engines"] if one["name"] == "nats")
    os.kill(broker, signal.SIGSTOP)
    try:
        second.run("up", "--timeout", "1s")
        until_error(second, "mark", "cannot fetch the code of service/mark: ")
        assert instance(second, "mark")["state"] == "starting"
        assert "it is tried again" in instance(second, "mark")["error"]
    finally:
        os.kill(broker, signal.SIGCONT)
    eventually(lambda: instance(second, "mark")["state"] == "ready", 60.0, lambda: second.json("status"))
    assert instance(second, "mark")["error"] == ""


def test_code_that_is_damaged_in_the_store_runs_nowhere(first: System, second: System) -> None:
    first.ctl("apply", write(first, "mark", "5"))
    digest = digest_of(first, "mark")

    async def damage(bus: Bus) -> None:
        upload = (await store.kept(bus))["code", digest].mark.upload
        await bus.request(subjects.kept_part("code", digest, upload, 0), b"something else")

    second.ctl("down")
    forget_here(second)
    on_the_bus(first, damage)
    second.run("up", "--timeout", "1s")
    until_error(second, "mark", "what is kept is not what was put there")
    assert instance(second, "mark")["state"] == "failed"
    eventually(lambda: "cannot fetch the code of service/mark" in first.ctl("service", "why", "mark"))
    assert not list((second.home / "artifacts").glob(f"*{digest[:12]}*"))
    first.ctl("apply", "mark", "--no-wait")  # the same again mends it
    eventually(lambda: instance(second, "mark")["state"] == "ready", 60.0, lambda: second.json("status"))


def test_only_a_server_gives_code(first: System, second: System) -> None:
    head = first.json("history")[0]["number"]
    told = second.refused("apply", write(second, "mark", "7"), code=7)
    assert "code is given to the cluster by its servers only" in told
    assert first.json("history")[0]["number"] == head


def test_what_does_not_fit_changes_nothing(first: System, second: System, monkeypatch: pytest.MonkeyPatch) -> None:
    from arint.errors import ArintError
    from arint.operations.configuration import ApplyArguments, apply

    async def run() -> None:
        async with Link(Home(first.home)) as link:
            await apply(link, ApplyArguments(paths=(first.folder / write(first, "mark", "8"),)))

    head = first.json("history")[0]["number"]
    monkeypatch.setattr(store, "LARGEST", 100)
    with pytest.raises(ArintError, match="the code does not fit"):
        asyncio.run(run())
    assert first.json("history")[0]["number"] == head
    assert instance(second, "mark")["state"] == "ready"


def test_code_of_an_earlier_release_is_brought_to_the_store(first: System, second: System) -> None:
    first.ctl("apply", write(first, "mark", "6"))
    on_the_bus(first, lambda bus: streams.delete_stream(bus, subjects.CODE))
    named = Named(artifacts=frozenset({digest_of(first, "mark")}))
    assert asyncio.run(see_to(Home(first.home), named)) == (0, 1)
    assert asyncio.run(see_to(Home(first.home), named)) == (0, 0)
    shutil.rmtree(second.home / "artifacts" / digest_of(first, "mark"))
    first.ctl("service", "restart", "mark")
    assert instance(second, "mark")["state"] == "ready"
    assert (second.home / "artifacts" / digest_of(first, "mark")).is_dir()
    assert asyncio.run(see_to(Home(first.home), Named(), grace=-60.0)) == (1, 0)
    assert on_the_bus(first, store.kept) == {}
