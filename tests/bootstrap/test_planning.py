"""Plans: what is left to be done follows from the facts alone, and what was done is not done again."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint.bootstrap import planning, preflight
from arint.bootstrap.effects import Effect, Prove, Serve, Start, told
from arint.bootstrap.facts import Disk, Facts, parse
from arint.bootstrap.inventory import Host
from arint.bootstrap.planning import HostPlan, Plan, Release, Target
from arint.errors import ConflictError, NotValidError
from arint.home import NodeConfig
from arint.operations.machines import refuse_other
from arint.ports import Ports

RELEASE = Release(id="1.0-abc", archive="/c/b.tar.gz", sha256="0" * 64, size=10**8, unpacked=3 * 10**8,
                  system="linux", machine="x86_64", glibc="2.36")
HOST = Host(cluster="local", node="n2", host="192.0.2.2", address="192.0.2.2")
ROOM = {folder: Disk(True, "/dev/a", 2**34) for folder in ("/opt/arint", "/var/lib/arint", "/root")}
BARE = Facts(user="root", root=True, sudo=False, folder="/root", prefix="/opt/arint", home="/var/lib/arint",
             system="linux", machine="x86_64", glibc="2.36", disks=ROOM)


def target(facts: Facts = BARE, host: Host = HOST, **more: Any) -> Target:
    return Target(host=host, facts=facts, release=RELEASE, **more)


def names(plan: HostPlan) -> list[str]:
    return [type(effect).__name__ for effect in plan.effects]


def after(effects: tuple[Effect, ...], facts: Facts, host: Host = HOST) -> Facts:
    """The facts of a machine on which these effects were carried out."""
    for effect in effects:
        match type(effect).__name__:
            case "Account":
                facts = msgspec.structs.replace(facts, account=True)
            case "Install":
                facts = msgspec.structs.replace(facts, installed=(*facts.installed, RELEASE.id))
            case "Switch":
                facts = msgspec.structs.replace(facts, current=RELEASE.id)
            case "Join":
                node = NodeConfig(version="1.0", cluster=host.cluster, node=host.node, host=host.address, ports=Ports(),
                                  created=1.0, roles=host.roles, capacity=host.capacity)
                facts = msgspec.structs.replace(facts, node=node)
            case "Serve":
                assert isinstance(effect, Serve)
                digest = hashlib.sha256(effect.content.encode()).hexdigest()
                facts = msgspec.structs.replace(facts, service=digest, enabled=facts.systemd)
            case "Start":
                assert isinstance(effect, Start)
                facts = msgspec.structs.replace(facts, running=effect.release)
            case "Stop":
                facts = msgspec.structs.replace(facts, running="", service="", enabled=False)
            case "Clean":
                facts = msgspec.structs.replace(facts, node=None, owner="")
            case "Uninstall":
                facts = msgspec.structs.replace(facts, installed=(), current="")
            case _:
                pass
    return facts


def test_a_bare_machine_goes_through_all_of_it() -> None:
    plan = planning.plan(target())
    assert names(plan) == ["Upload", "Account", "Install", "Switch", "Certify", "Join", "Serve", "Start", "Prove"]
    assert all(told(effect) for effect in plan.effects)


@given(st.integers(0, 9), st.booleans(), st.booleans())
def test_a_run_that_broke_off_anywhere_goes_on_there_and_ends(done: int, systemd: bool, root: bool) -> None:
    facts = msgspec.structs.replace(BARE, systemd=systemd, root=root)
    plan = planning.plan(target(facts))
    done = min(done, len(plan.effects))
    recorded = HOST.address if any(name == "Certify" for name in names(plan)[:done]) else ""
    facts = after(plan.effects[:done], facts)
    rest = planning.plan(target(facts, recorded=recorded))
    assert set(names(rest)) - {"Upload", "Certify"} <= set(names(plan)[done:]) | {"Prove"}
    facts = after(rest.effects, facts)
    assert planning.plan(target(facts, recorded=HOST.address)).changes == ()
    assert names(planning.plan(target(facts, recorded=HOST.address))) == ["Prove"]


def test_a_node_that_runs_another_release_keeps_it_until_it_is_upgraded() -> None:
    facts = msgspec.structs.replace(after(planning.plan(target()).effects, BARE), installed=("0.9-old",),
                                    current="0.9-old", running="0.9-old")
    kept = planning.plan(target(facts, recorded=HOST.address))
    assert kept.changes == () and "stays on release 0.9-old" in kept.notes[0]
    found = planning.upgrade(target(facts, recorded=HOST.address), drains=True, force=False, waiting=60)
    assert names(found) == ["Upload", "Install", "Drain", "Switch", "Start", "Prove", "Uncordon"]
    facts = after(found.effects, facts)
    again = planning.upgrade(target(facts, recorded=HOST.address), drains=True, force=False, waiting=60)
    assert again.changes == ()


@given(st.integers(0, 9), st.booleans(), st.booleans(), st.booleans())
def test_an_upgrade_that_broke_off_anywhere_ends_with_instances_as_before(done: int, drains: bool, cordoned: bool,
                                                                         systemd: bool) -> None:
    facts = msgspec.structs.replace(after(planning.plan(target(msgspec.structs.replace(BARE, systemd=systemd))).effects,
                                          msgspec.structs.replace(BARE, systemd=systemd)),
                                    installed=("0.9",), current="0.9", running="0.9")
    state = {"cordoned": cordoned, "drained": False}

    def planned() -> HostPlan:
        return planning.upgrade(target(facts, recorded=HOST.address), drains=drains, force=False, waiting=60, **state)

    def carry_out(effects: tuple[Effect, ...]) -> None:
        nonlocal facts
        for effect in effects:
            facts = after((effect,), facts)
            match type(effect).__name__:
                case "Drain":
                    state.update(cordoned=True, drained=True)
                case "Uncordon":
                    state.update(cordoned=False, drained=False)
                case "Start":
                    assert not drains or cordoned or state["drained"], "started while instances may run there"
                case _:
                    pass

    plan = planned()
    carry_out(plan.effects[:min(done, len(plan.effects))])
    carry_out(planned().effects)
    assert state == {"cordoned": cordoned, "drained": False}
    assert facts.running == RELEASE.id and planned().changes == ()


def test_what_an_upgrade_removes_is_older_than_the_one_before() -> None:
    facts = msgspec.structs.replace(after(planning.plan(target()).effects, BARE), running="0.9", current="0.9",
                                    installed=("0.8", "0.9"))
    prune = planning.upgrade(target(facts), drains=False, force=False, waiting=1).effects[-1]
    assert told(prune) == "remove from /opt/arint every release but 1.0-abc, 0.9"


def test_a_node_is_forgotten_once_it_has_stopped() -> None:
    facts = after(planning.plan(target()).effects, BARE)
    there = target(facts, recorded=HOST.address)
    worker = planning.removal(there, lives=True, force=False, waiting=60)
    assert names(worker) == ["Drain", "Stop", "Forget", "Clean"]
    gone = planning.removal(target(after(worker.effects, facts)), lives=False, force=False, waiting=60)
    assert gone.changes == ()
    bare = planning.reset(there)
    assert names(bare) == ["Stop", "Clean", "Uninstall"]
    assert planning.reset(target(after(bare.effects, facts))).changes == ()


def test_a_saved_plan_holds_only_for_the_same_facts() -> None:
    saved = Plan(release=RELEASE.id, hosts=(planning.plan(target()),))
    assert msgspec.json.decode(msgspec.json.encode(saved), type=Plan) == saved
    refuse_other(saved, Plan(release=RELEASE.id, hosts=(planning.plan(target()),)))
    for facts, words in ((msgspec.structs.replace(BARE, glibc="2.37"), "a fact has changed"),
                         (msgspec.structs.replace(BARE, account=True), "other steps are needed now")):
        with pytest.raises(ConflictError, match=words):
            refuse_other(saved, Plan(release=RELEASE.id, hosts=(planning.plan(target(facts)),)))
    with pytest.raises(ConflictError, match="not in the saved plan"):
        refuse_other(Plan(release="", hosts=()), saved)


def test_every_problem_is_named_at_once() -> None:
    assert preflight.problems(target()) == []
    bad = msgspec.structs.replace(
        BARE, glibc="2.31", skew=-90.0, missing=("tar",), others=("/usr/bin/arintctl",), strange="letters",
        disks={"/opt/arint": Disk(False, "/dev/a", 0), "/var/lib/arint": Disk(True, "/dev/b", 2**20),
               "/root": Disk(True, "/dev/b", 2**20)})
    found = preflight.problems(target(bad, recorded="192.0.2.9"))
    for words in ("glibc 2.31", "90 seconds behind", "lacks tar", "another installation, /usr/bin/arintctl",
                  "holds letters", "/opt/arint cannot be written", "too little room for /root and /var/lib/arint",
                  "has a node n2 already, at 192.0.2.9"):
        assert any(words in line for line in found), (words, found)
    with pytest.raises(NotValidError, match="8 problems; nothing was changed there"):
        preflight.refuse("n2", found)
    assert "the bundle is for linux on x86_64" in preflight.problems(
        target(msgspec.structs.replace(BARE, machine="aarch64")))[0]


def test_a_machine_of_another_cluster_or_address() -> None:
    other = msgspec.structs.replace(HOST, cluster="other")
    facts = after(planning.plan(target(host=other)).effects, BARE, other)
    assert "is the node n2 of cluster other already" in preflight.problems(target(facts))[0]
    moved = msgspec.structs.replace(HOST, address="10.0.0.2")
    facts = after(planning.plan(target(host=moved)).effects, BARE, moved)
    assert "under the address 10.0.0.2" in preflight.problems(target(facts))[0]


def test_a_machine_that_is_to_become_a_server_is_refused_and_one_that_is_is_not() -> None:
    server = msgspec.structs.replace(HOST, roles=("server", "worker"))
    found = preflight.problems(target(host=server))
    assert found == ["a server cannot join a cluster that runs yet: give it the roles: [worker]"]
    facts = after(planning.plan(target(host=server)).effects, BARE, server)
    assert preflight.problems(target(facts, server, recorded=HOST.address)) == []


def test_what_the_script_prints_becomes_facts() -> None:
    facts = parse("""system=Linux
machine=x86_64
glibc=glibc 2.36
now=1100
processors=2
missing=runuser
disk=/opt/arint yes /dev/a 1000
disk=broken
installed=1.0-abc
current=1.0-abc
node={"version": "1.0", "cluster": "c", "node": "n", "ports": {}, "created": 1}
runs=/opt/arint/1.0-abc/python/bin/python3.11
other=/usr/bin/arintctl
nonsense
""", BARE, 1000.0)
    assert (facts.system, facts.glibc, facts.skew) == ("linux", "2.36", 100.0)
    assert facts.disks["/opt/arint"] == Disk(True, "/dev/a", 1_024_000) and facts.missing == ("runuser",)
    assert facts.running == facts.current == "1.0-abc" and facts.node is not None and facts.node.cluster == "c"
    assert "cannot be read" in parse('now=1\nnode={"a', BARE, 0).strange


KEYS = ("processors", "disk", "node", "glibc", "runs", "installed", "service", "held", "other")


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.text(max_size=40))))
def test_no_output_of_a_machine_breaks_the_reader(lines: list[tuple[str, str]]) -> None:
    parse("now=5\n" + "\n".join(f"{key}={value}" for key, value in lines), BARE, 0.0)


def test_the_proof_is_no_change() -> None:
    assert not any(isinstance(effect, Prove) for effect in planning.plan(target()).changes)
