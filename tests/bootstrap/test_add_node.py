"""Bare machines of a lab become nodes of a running cluster, by one command."""

from __future__ import annotations

import json

import pytest

from tests.bootstrap.conftest import Site

pytestmark = pytest.mark.lab


def test_two_bare_machines_become_nodes_and_nothing_is_left_to_do(site: Site) -> None:
    plan = site.system.ctl("cluster", "add-node", "-i", str(site.inventory), "--accept-new", "--dry-run")
    assert "m1 (198.18." in plan and "nothing was changed" in plan
    assert all(site.lab[0].run(["ls", folder]).strip() == "" for folder in ("/opt", "/home/arint") if folder == "/opt")
    found = site.add()
    assert {name: one["state"] for name, one in found.items()} == {"m1": "added", "m2": "added"}
    planned = [line.split(maxsplit=1)[1] for line in plan.split("m2 (")[0].splitlines() if line.startswith("  ")]
    assert [line for line in planned if not line.startswith("there is no systemd")] == found["m1"]["effects"]
    assert site.nodes() == {"first": "ready", "m1": "ready", "m2": "ready"}
    again = site.add()
    assert {one["state"] for one in again.values()} == {"unchanged"}
    machine = site.lab[0]
    assert machine.run(["stat", "-c", "%U %a", "/var/lib/arint"]).strip() == "arint 700"
    assert machine.run(["find", "/var/lib/arint", "-perm", "/077", "-name", "*.key"]).strip() == ""
    assert not machine.run(["sh", "-c", "ls /var/lib/arint/pki/*ca.key 2>/dev/null || true"]).strip()
    assert json.loads(machine.run(["cat", "/var/lib/arint/node.json"]))["roles"] == ["worker"]
