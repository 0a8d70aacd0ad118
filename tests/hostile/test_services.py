"""Services that do their worst: the message is kept or told of as dead, and the others pass."""

from __future__ import annotations

import pytest

from tests.hostile.system import System, disk_used, eventually

CODE = '''
import asyncio, ctypes, os, sys, time

def well(body: dict) -> dict:
    return {"well": True}

def raises(body: dict) -> dict:
    if body.get("bad"):
        raise RuntimeError("the ledger is closed")
    return body

def hangs(body: dict) -> dict:
    if body.get("bad"):
        time.sleep(3600)
    return body

async def waits(body: dict) -> dict:
    if body.get("bad"):
        await asyncio.sleep(3600)
    return body

async def blocks(body: dict) -> dict:
    if body.get("bad"):
        time.sleep(3600)
    return body

def exits(body: dict) -> dict:
    if body.get("bad"):
        os._exit(3)
    return body

def leaves(body: dict) -> dict:
    if body.get("bad"):
        sys.exit("no more today")
    return body

async def leaves_async(body: dict) -> dict:
    if body.get("bad"):
        sys.exit("no more today")
    return body

def crashes(body: dict) -> dict:
    if body.get("bad"):
        ctypes.string_at(0)
    return body

def prints(body: dict) -> dict:
    if body.get("bad"):
        line = "x" * 1023 + "\\n"
        for _ in range(1024):
            sys.stdout.write(line * 1024)
    return body
'''
SERVICES = ("raises", "hangs", "waits", "blocks", "exits", "leaves", "leaves_async", "crashes", "prints")
MANIFEST = """
kind: Service
name: {name}
source: bad.py:{function}
timeout: {timeout}
concurrency: {concurrency}
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
    manifests = [MANIFEST.format(name=name.replace("_", "-"), function=name,
                                 timeout="60s" if name == "prints" else "1s",
                                 concurrency=1 if name in ("exits", "crashes") else 64) for name in SERVICES]
    system.write({"bad.py": CODE, "bad.yaml": "---".join(manifests)})
    system.ctl("apply", "bad.yaml")
    return system


@pytest.mark.parametrize(("name", "kind", "words"), [
    ("raises", "RuntimeError", "the ledger is closed"),
    ("hangs", "timed out", "no result within 1 s"),
    ("waits", "timed out", "no result within 1 s"),
    ("leaves", "", "no more today"),
    ("leaves-async", "", "no more today"),
])
def test_a_failing_call_becomes_a_dead_letter_and_the_others_pass(services: System, name: str, kind: str,
                                                                  words: str) -> None:
    bad = services.post(f"/{name}", BAD)
    good = services.post(f"/{name}", b'{"n": 1}')
    services.wait_state(f"/{name}", good, "done")
    services.wait_state(f"/{name}", bad, "dead")
    letter = services.dead_letter(bad)
    assert kind in letter["letter"]["kind"]
    assert words in letter["letter"]["error"]
    if name == "raises":
        assert 'bad.py", line' in letter["detail"]
    services.ctl("dlq", "edit", bad, "--body", _right(services))
    services.ctl("dlq", "replay", bad)
    services.wait_state(f"/{name}", bad, "done")


def _right(system: System) -> str:
    system.write({"right.json": '{"n": 2}'})
    return "right.json"


@pytest.mark.timeout(300)
def test_what_ends_or_blocks_its_worker_becomes_a_dead_letter_and_the_others_pass(services: System) -> None:
    names = ("exits", "crashes", "blocks")
    bad, good = {}, []
    for name in names:
        good += [(name, services.post(f"/{name}", b'{"n": 1}')) for _ in range(5)]
        bad[name] = services.post(f"/{name}", BAD)
        good += [(name, services.post(f"/{name}", b'{"n": 1}')) for _ in range(20)]
    for name, message in good:
        services.wait_state(f"/{name}", message, "done", patience=120.0)
    eventually(lambda: "in blocks" in services.ctl("logs", "blocks-1", "-n", "200"), 60.0)
    for name, message in bad.items():
        services.wait_state(f"/{name}", message, "dead", patience=150.0)
        assert "died or hung" in services.dead_letter(message)["letter"]["error"]
        services.wait_state(f"/{name}", services.post(f"/{name}", b'{"n": 3}'), "done")
    for name in ("exits", "crashes"):  # and not when the time has come at which the broker would by itself
        assert "had in hand are given back" in services.ctl("logs", f"{name}-1", "-n", "200")
    assert not {letter["message"] for letter in services.json("dlq", "list")} & {message for _, message in good}


def test_a_gigabyte_of_output_leaves_the_disk_as_it_was(services: System) -> None:
    bad = services.post("/prints", BAD)
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, disk_used(services.home / "log", "prints-1*"))
        return services.state("/prints", bad) == "done"

    eventually(done, 100.0)
    assert most < 600 * 2**20, "of 1 GiB; an agent that has its turn seldom sweeps seldom"
    eventually(lambda: disk_used(services.home / "log", "prints-1*") <= 26 * 2**20)
    assert not services.instance("prints-1").get("restarts")
    services.wait_state("/prints", services.post("/prints", b"{}"), "done")


def test_a_version_that_does_not_import_tells_why_and_leaves_the_old_one_in_service(services: System) -> None:
    good = MANIFEST.format(name="late", function="well", timeout="1s", concurrency=4).replace("bad.py", "late/late.py")
    services.write({"late/late.py": CODE, "late.yaml": good})
    services.ctl("apply", "late.yaml")
    services.wait_state("/late", services.post("/late"), "done")
    for code, words in {"import nowhere_at_all\n": "nowhere_at_all", "def well(:\n": "SyntaxError",
                        "import sys\nsys.exit(4)\n": "sys.exit", "import os\nos._exit(5)\n": "code 5",
                        "other = 1\n": "no well"}.items():
        services.write({"late/late.py": code})
        assert words in services.run("apply", "late.yaml").stderr
        assert words in services.ctl("describe", "service/late")
        services.wait_state("/late", services.post("/late"), "done", patience=15.0)
    services.write({"late/late.py": CODE})
    services.ctl("apply", "late.yaml")
    services.wait_state("/late", services.post("/late"), "done")
