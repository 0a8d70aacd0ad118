"""Bare machines of a lab become nodes of a running cluster by one command, also one that is killed half-way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bootstrap.conftest import Site
from tests.hostile.system import eventually
from tests.lab.machine import PASSWORD, Machine

pytestmark = pytest.mark.lab

PHASES: dict[str, Callable[[Path], bool]] = {
    "upload": lambda disk: any(disk.glob("root/.cache/arint-bootstrap/*.part")),
    "install": lambda disk: any(disk.glob("opt/arint/.half-*/bundle.json")),
    "certificates": lambda disk: any(disk.glob("var/lib/arint/pki/*.key")),
    "join": lambda disk: (disk / "var/lib/arint/node.json").exists(),
    "start": lambda disk: (disk / "var/lib/arint/run/supervisord.pid").exists(),
}


def shown(machine: Machine, *words: str) -> str:
    return machine.run(["sh", "-c", " ".join(words)]).strip()


def test_a_run_that_is_killed_in_each_phase_goes_on_where_it_was(site: Site) -> None:
    machine, words = site.lab[0], ("cluster", "add-node", "m1", "-i", str(site.inventory), "--accept-new", "--yes")
    plan = site.system.ctl(*words[:-1], "--dry-run")
    assert "m1 (198.18." in plan and "nothing was changed" in plan
    assert shown(machine, "ls /opt /var/lib | grep arint || true") == ""
    killed: list[str] = []
    for phase, reached in PHASES.items():
        child = site.system.begin(*words)
        try:
            eventually(lambda reached=reached: reached(machine.disk) or child.poll() is not None, 120,  # noqa: B023
                       lambda phase=phase: phase)
            if child.poll() is None:
                killed.append(phase)
        finally:
            child.kill()
            child.communicate(timeout=30)
    assert killed, "every run had ended before it was killed"
    assert site.add("m1")["m1"]["state"] in ("added", "changed", "unchanged")
    assert site.nodes()["m1"] == "ready"
    assert site.add("m1")["m1"]["state"] == "unchanged"
    assert shown(machine, "ls -A /opt/arint").splitlines()[1:] == ["current"]
    assert shown(machine, "ls /root/.cache/arint-bootstrap") == ""
    assert shown(machine, "stat -c '%U %a' /var/lib/arint") == "arint 700"
    assert shown(machine, "find /var/lib/arint -perm /077 -name '*.key'") == ""
    assert shown(machine, "ls /var/lib/arint/pki/*ca.key 2>/dev/null || true") == ""
    assert json.loads(shown(machine, "cat /var/lib/arint/node.json"))["roles"] == ["worker"]


def test_two_administrators_at_once(site: Site) -> None:
    words = ("cluster", "add-node", "m2", "-i", str(site.inventory), "--accept-new", "--yes")
    both = [site.system.begin(*words) for _ in range(2)]
    told = [child.communicate(timeout=200) for child in both]
    codes = sorted(child.returncode for child in both)
    assert codes in ([0, 0], [0, 4]), told
    if codes == [0, 4]:
        refused = next(error for child, (_, error) in zip(both, told, strict=True) if child.returncode == 4)
        assert "is being set up by" in refused
    assert site.add("m2")["m2"]["state"] == "unchanged"
    assert site.nodes()["m2"] == "ready"


def test_for_a_user_without_root_it_lies_in_the_users_folders(site: Site) -> None:
    site.system.environment["LAB_PASSWORD"] = PASSWORD
    site.write(m3="user: plain, password: {env: LAB_PASSWORD}, labels: {zone: b}")
    try:
        assert site.add("m3")["m3"]["state"] == "added"
        assert site.add("m3")["m3"]["state"] == "unchanged"
        machine = site.lab[2]
        assert shown(machine, "ls /opt") == "" and shown(machine, "ls /home/plain/.local/opt/arint | wc -l") == "2"
        assert shown(machine, "stat -c '%U %a' /home/plain/.local/share/arint") == "plain 700"
        assert site.nodes()["m3"] == "ready"
    finally:
        site.write()


def test_a_saved_plan_is_refused_once_a_fact_has_changed(site: Site) -> None:
    file = site.system.folder / "plan.json"
    site.system.ctl("cluster", "add-node", "m1", "m2", "-i", str(site.inventory), "--out", str(file))
    assert [host["node"] for host in json.loads(file.read_text())["hosts"]] == ["m1", "m2"]
    assert {one["state"] for one in site.add("m1", "m2", "--plan", str(file)).values()} == {"unchanged"}
    machine = site.lab[1]
    before = machine.run(["cat", "/etc/machine-id"])
    machine.run(["sh", "-c", "echo other >/etc/machine-id"])
    try:
        told = site.refused("m1", "m2", "--plan", str(file), code=4)
    finally:
        machine.run(["sh", "-c", "cat >/etc/machine-id"], text=before)
    assert "m2: a fact has changed since the plan was made" in told and "m1:" not in told
    file.write_text("{")
    assert "this is no plan" in site.refused("m1", "--plan", str(file), code=8)


def test_a_node_is_removed_and_its_machine_made_bare(site: Site) -> None:
    standing = {one["node"]: one for one in site.system.json("cluster", "status", "-i", str(site.inventory))}
    assert standing["m1"]["running"] and standing["m1"]["state"] == "ready" and "first" in standing
    words = ("-i", str(site.inventory), "--yes", "-o", "json")
    removed = json.loads(site.system.ctl("cluster", "remove-node", "m1", *words))["outcomes"][0]
    assert removed["state"] == "removed" and "m1" not in site.nodes()
    assert shown(site.lab[0], "ls /var/lib | grep arint || true") == ""
    again = json.loads(site.system.ctl("cluster", "remove-node", "m1", *words))["outcomes"][0]
    assert again["state"] == "unchanged"
    site.system.ctl("cluster", "reset", "m1", *words)
    assert shown(site.lab[0], "ls /opt; ps aux | grep [n]odeagent || true") == ""
