"""The code of services reaches the nodes that run them: the orders example on a node where it was never applied."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.system import System, eventually
from tests.nodes.test_joining import admitted

ORDERS = Path(__file__).parents[2] / "examples/orders"


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


def instances(system: System, service: str) -> list[dict[str, Any]]:
    return [one for one in system.json("status")["instances"] if one["service"] == service]


def test_the_example_runs_where_it_was_never_applied(first: System, second: System) -> None:
    shutil.copytree(ORDERS, first.folder / "orders")
    manifest = first.folder / "orders/orders.yaml"
    text = manifest.read_text()
    for name in ("price", "approve"):
        text = text.replace(f"source: {name}.py:{name}\n", f"source: {name}.py:{name}\nplacement: {{labels: {{zone: b}}}}\n")
    manifest.write_text(text)
    (first.folder / "orders/orders.key").write_text("key")
    began = time.monotonic()
    first.ctl("apply", "orders/orders.yaml")
    took = time.monotonic() - began
    print(f"from apply to ready on the other node: {took:.2f} s")
    for name in ("price", "approve"):
        [instance] = instances(second, name)
        assert (instance["node"], instance["state"], instance["error"]) == ("n2", "ready", "")
