"""A cluster of this machine, in a lab: bare machines are beside it, and reached by SSH alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.system import System
from tests.lab.lab import Lab


class Site:
    """Machines, and a running cluster `local` that listens where they reach it; an inventory of them."""

    def __init__(self, lab: Lab, system: System) -> None:
        self.lab = lab
        self.system = system
        self.inventory = system.folder / "inventory.yaml"
        self.write()

    def write(self, vars: str = "user: root", **nodes: str) -> Path:
        """The inventory, with more settings for some machines."""
        lines = [f"vars: {{{vars}, key: {self.lab.folder}/key, ssh_config: false}}", "clusters:", "  local:",
                 "    nodes:"]
        for machine in self.lab:
            more = nodes.get(machine.name, "")
            lines.append(f"      {machine.name}: {{host: {machine.address}{', ' if more else ''}{more}}}")
        self.inventory.write_text("\n".join(lines) + "\n")
        return self.inventory

    def add(self, *words: str) -> dict[str, dict[str, Any]]:
        """What became of each machine, by name."""
        told = self.system.json("cluster", "add-node", *words, "-i", str(self.inventory), "--accept-new", "--yes")
        return {one["node"]: one for one in told["outcomes"]}

    def refused(self, *words: str, code: int = 8) -> str:
        """What is said where it fails."""
        return self.system.refused("cluster", "add-node", *words, "-i", str(self.inventory), "--yes", code=code)

    def nodes(self) -> dict[str, str]:
        """The state of each node, as the cluster sees it."""
        return {one["node"]: one["state"] for one in self.system.json("node", "list")}


@pytest.fixture(scope="module")
def site(lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three bare machines beside a running cluster."""
    folder = tmp_path_factory.mktemp("site")
    with lab(count=3, password_login=True) as machines, System(folder, up=False) as system:
        system.environment["XDG_CONFIG_HOME"] = str(folder / "config")
        system.ctl("up", "--host", machines.host, "--node", "first")
        yield Site(machines, system)
