"""The how-to pages, followed word by word on one running cluster."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.system import System, eventually

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^ *```(\w*) ?([\w./-]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("how-to")) as system:
        yield system


def follow(system: System, page: str) -> None:
    """Write the files that the page has its reader write."""
    text = (ROOT / "docs/how-to" / page).read_text()
    system.write({name: content for _, name, content in FENCE.findall(text) if name})


def raw(system: System, *words: str) -> bytes:
    done = subprocess.run([sys.executable, "-m", "arintctl", *words], env=system.environment, capture_output=True,
                          cwd=system.folder, check=True)
    return done.stdout


def test_large_messages(system: System) -> None:
    follow(system, "large-messages.md")
    system.ctl("apply", "scans")
    body = b"page\f" * 700_000 + b"\xff"
    message = system.post("/scans", body, X_Name="a", Content_Type="application/octet-stream")
    system.wait_state("/scans", message, "done")
    shown = system.json("message", "show", message)
    assert (shown["size"], shown["shown"]) == (len(body), 16 * 2**10)
    assert "--body gives all of it" in system.ctl("message", "show", message)
    assert raw(system, "message", "show", message, "--body") == body
    replayed = system.json("message", "replay", message)
    assert replayed[0]["state"] == "done"


def test_a_large_dead_letter_is_shown_edited_and_replayed(system: System) -> None:
    follow(system, "large-messages.md")
    code = system.folder / "scans/pages.py"
    fails = "    if scan.startswith(b'bad'):\n        raise ValueError\n    return"
    code.write_text(code.read_text().replace("    return", fails))
    flow = system.folder / "scans/scans.yaml"
    flow.write_text(flow.read_text().replace("steps:", "retry: {attempts: 1}\nsteps:"))
    system.ctl("apply", "scans")
    message = system.post("/scans", b"bad" + bytes(2**20), X_Name="b")
    system.wait_state("/scans", message, "dead")
    letter = system.json("dlq", "show", message)
    assert letter["letter"]["size"] == 3 + 2**20
    assert raw(system, "dlq", "show", message, "--body") == b"bad" + bytes(2**20)
    system.write({"better.scan": b"better" + bytes(2**20)})
    system.ctl("dlq", "edit", message, "--body", "better.scan")
    assert raw(system, "dlq", "show", message, "--body") == b"better" + bytes(2**20)
    assert system.json("dlq", "replay", message)[0]["state"] == "done"
    eventually(lambda: not system.json("dlq", "list"))


def test_secrets_reach_a_running_service_and_nothing_else(system: System) -> None:
    follow(system, "secrets.md")
    assert "arintctl secret set signing-key" in system.refused("apply", "secrets")  # it is declared nowhere yet

    def give(value: str) -> None:
        subprocess.run([sys.executable, "-m", "arintctl", "secret", "set", "signing-key"], input=value + "\n",
                       text=True, env=system.environment, cwd=system.folder, check=True, capture_output=True)

    def signed() -> str:
        message = system.post("/sign", b'{"id": 7, "card": {"number": "4111"}, "password": "hunter2"}')
        system.wait_state("/sign", message, "done")
        shown = system.json("message", "show", message, "--stage", "1-call-sign")
        assert "4111" not in shown["body"]
        assert "hunter2" not in shown["body"]
        whole = json.loads(raw(system, "message", "show", message, "--body"))
        assert whole["card"] == {"number": "4111"}
        return str(whole["id"]) + system.json("message", "show", message)["state"]

    give("first-signing-value")
    system.ctl("apply", "secrets")
    assert signed() == "7done"
    pid = system.instance("sign-1")["pid"]
    give("second-signing-value")
    system.ctl("secret", "rotate")
    assert signed() == "7done"
    assert system.instance("sign-1")["pid"] == pid
    assert "7: ***" in system.ctl("logs", "runner-1", "-n", "50")
    told = [system.ctl(*words) for words in (["secret", "list", "-o", "json"], ["export"], ["get", "-o", "json"],
                                             ["describe", "secret/signing-key", "-o", "json"])]
    logs = "".join(file.read_text(errors="replace") for file in (system.home / "log").iterdir())
    assert "signing-value" not in "".join(told) + logs
    for file in (system.home / "etcd").rglob("*"):
        if file.is_file():
            assert b"signing-value" not in file.read_bytes()
