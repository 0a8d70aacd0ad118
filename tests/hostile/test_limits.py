"""Services that take more than they may, leave children behind, or do not want to go: met on a whole cluster."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from arint.engines.procfs import all_stats, with_variable
from tests.command.programs import ECHO
from tests.hostile.system import System, eventually

CODE = '''
import os, subprocess, time

kept = []

def leaks(body: dict) -> dict:
    while body.get("bad"):
        kept.append(bytearray(2**20))
        time.sleep(0.002)
    return body

def forks(body: dict) -> dict:
    """Children in sessions of their own: one plain, one whose parent is gone."""
    subprocess.Popen(["sleep", "3600"], start_new_session=True)
    subprocess.run(["sh", "-c", "setsid sleep 3600 & exit 0"])
    if body.get("bad"):
        os._exit(9)
    return body

def swarms(body: dict) -> dict:
    """More and more children, though not without end: the machine belongs to others too."""
    swarm = [subprocess.Popen(["sleep", "60"]) for _ in range(body.get("children", 0))]
    time.sleep(60 if swarm else 0)
    return body
'''
SERVICES = """
kind: Service
name: leaks
source: bad.py:leaks
concurrency: 2
resources: {memory: 128MiB}
---
kind: Service
name: forks
source: bad.py:forks
---
kind: Service
name: swarms
source: bad.py:swarms
concurrency: 2
resources: {processes: 60}
---
kind: Service
name: prog
command: [./echo.pl]
env: {GREETING: good day}
"""
CHANNEL = """
---
kind: Flow
name: {name}
retry: {{attempts: 2, backoff: 10ms..50ms}}
steps:
  - call: service/{name}
---
kind: Channel
name: {name}
http: {{path: /{name}}}
to: flow/{name}
"""
BAD = b'{"bad": true}'


@pytest.fixture(scope="module")
def services(system: System) -> System:
    system.environment["SECRET_OF_THE_AGENT"] = "geheim"
    names = ("leaks", "forks", "swarms", "prog")
    system.write({"bad.py": CODE, "echo.pl": ECHO,
                  "bad.yaml": SERVICES + "".join(CHANNEL.format(name=name) for name in names)})
    (system.folder / "echo.pl").chmod(0o755)
    system.ctl("apply", "bad.yaml")
    return system


@pytest.fixture(scope="module")
def leak(services: System) -> str:
    """A message whose worker leaks to its limit, each time: what becomes of it is looked at first and last."""
    return services.post("/leaks", BAD)


def marked(system: System, name: str) -> list[int]:
    """The living processes of an instance, wherever they have gone."""
    stats = all_stats()
    return [pid for pid in with_variable(f"ARINT_FENCE={system.home}/{name}".encode())
            if pid in stats and not stats[pid].is_dead]


REASON = "it used its 128 MiB: ended by"


def test_a_leak_ends_its_worker_with_the_reason(services: System, leak: str) -> None:
    eventually(lambda: REASON in services.instance("leaks-1").get("last_end", ""), 30.0)
    assert services.instance("leaks-1")["restarts"] >= 1
    assert REASON in services.ctl("describe", "service/leaks")
    assert REASON in services.ctl("status")
    assert REASON in services.ctl("logs", "leaks-1")
    assert services.state("/leaks", leak) in ("accepted", "processing")


def test_children_die_with_their_worker_wherever_they_went(services: System) -> None:
    services.wait_state("/forks", services.post("/forks"), "done")
    worker = services.instance("forks-1")["pid"]
    before = marked(services, "forks-1")
    assert worker in before
    assert len(before) >= 3
    os.kill(worker, 9)
    eventually(lambda: not set(before) & set(marked(services, "forks-1")), 10.0)
    eventually(lambda: services.instance("forks-1")["state"] == "ready", 20.0)


def test_too_many_children_are_refused_or_ended(services: System) -> None:
    """A control group refuses them; without one the agent sees them."""
    message = services.post("/swarms", b'{"children": 150}')

    def was_met() -> bool:
        return "processes and threads of the 60" in services.instance("swarms-1").get("last_end", "") or \
            "Resource temporarily unavailable" in services.ctl("why", message)

    eventually(was_met, 30.0)
    eventually(lambda: len(marked(services, "swarms-1")) < 10 or
               services.instance("swarms-1")["state"] == "ready", 20.0)
    assert len(marked(services, "swarms-1")) <= 160
    services.wait_state("/swarms", services.post("/swarms"), "done", patience=30.0)


def test_a_limit_that_changes_needs_no_new_process(services: System) -> None:
    pid = services.instance("forks-1")["pid"]
    text = (services.folder / "bad.yaml").read_text()
    more = "source: bad.py:forks\nresources: {memory: 192MiB}"
    services.write({"bad.yaml": text.replace("source: bad.py:forks", more)})
    services.ctl("apply", "bad.yaml", "--no-wait")
    number = services.json("history")[0]["number"]
    eventually(lambda: services.instance("forks-1").get("change_set") == number, 30.0)
    assert services.instance("forks-1")["pid"] == pid


def test_a_service_sees_nothing_of_the_agents_environment(services: System) -> None:
    for name in ("forks-1", "prog-1"):
        for pid in marked(services, name):
            assert b"geheim" not in Path(f"/proc/{pid}/environ").read_bytes()
            assert b"HOSTILE_MARK" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_a_program_that_dies_of_a_message_is_told_of(services: System) -> None:
    done = services.post("/prog", b"good", Content_Type="text/plain")
    services.wait_state("/prog", done, "done")
    large = services.post("/prog", b"x" * 700 * 1024, Content_Type="text/plain")
    services.wait_state("/prog", large, "done")
    bad = services.post("/prog", b"exit", Content_Type="text/plain")
    services.wait_state("/prog", bad, "dead", patience=30.0)
    assert "the program ended with code 3" in services.dead_letter(bad)["letter"]["error"]
    eventually(lambda: services.instance("prog-1").get("restarts", 0) >= 2, 10.0)
    assert "the program ended with code 3" in services.ctl("describe", "service/prog")
    services.wait_state("/prog", services.post("/prog", b"again", Content_Type="text/plain"), "done")


def test_a_user_that_is_not_there_is_refused_where_the_user_looks(services: System) -> None:
    services.write({"u.yaml": "kind: Service\nname: u\ncommand: [./echo.pl]\nuser: nobody-at-all\n"})
    assert "there is no user nobody-at-all on this node" in services.run("apply", "u.yaml").stderr
    assert "useradd" in services.ctl("describe", "service/u")
    services.ctl("delete", "service/u", "--no-wait")


def test_doctor_tells_which_limits_are_in_force(services: System) -> None:
    told = services.run("doctor", "-o", "json").stdout  # its exit code is that of the instance that leaks
    [found] = [check for check in json.loads(told) if check["name"] == "limits"]
    assert found["found"].startswith(("cgroup v2: ", "rlimits, which are weaker: "))


def test_a_message_that_leaks_each_time_is_dead_in_the_end_and_takes_no_other_along(services: System,
                                                                                     leak: str) -> None:
    good = [services.post("/leaks", b"{}") for _ in range(3)]
    services.wait_state("/leaks", leak, "dead", patience=100.0)
    letter = services.dead_letter(leak)["letter"]
    assert letter["kind"] == "worker lost"
    assert REASON in letter["error"]
    assert REASON in services.ctl("events", "--flow", "leaks", "-o", "wide")
    for message in good:
        services.wait_state("/leaks", message, "done", patience=30.0)
