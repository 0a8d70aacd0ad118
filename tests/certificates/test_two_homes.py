"""A server and a node without engines under load: certificates are renewed, CAs changed, and no call fails."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arint.errors import ArintError
from arint.home import Home
from arint.operations.agent import AgentStatus, LocalAgent
from arint.security import ca
from arint.security.permissions import identity_on
from tests.hostile.system import System, eventually
from tests.two_nodes import apply, join, load

CAS = {"ca/cluster-ca", "ca/etcd-ca"}


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[System, System]]:
    """The service runs on the second, so that calls of the first go across."""
    with System(tmp_path_factory.mktemp("first")) as first, System(tmp_path_factory.mktemp("second"),
                                                                    up=False) as second:
        first.ctl("node", "label", first.json("status")["node"], "zone=a")
        apply(first, "a")
        join(first, second)
        apply(first, "b")
        eventually(lambda: serials(first).keys() > CAS and "node/n2/worker" in serials(first), 30.0)
        yield first, second


def stands(system: System) -> AgentStatus | None:
    """How the agent of this home says that it stands; None where it does not answer."""
    async def ask() -> AgentStatus:
        return await LocalAgent(Home(system.home)).status(within=5.0)

    try:
        return asyncio.run(ask())
    except ArintError:
        return None


def workers(*systems: System) -> list[dict[str, int]]:
    found = []
    for system in systems:
        status = stands(system)
        assert status is not None
        found.append({one.instance: one.pid for one in status.instances})
    return found


def error(system: System) -> str:
    status = stands(system)
    return status.error if status is not None else "it does not answer"


def ready(system: System) -> bool:
    status = stands(system)
    return status is not None and status.ready


def log_of(system: System) -> str:
    return (system.home / "log/agent.log").read_text()[-3000:]


def serials(first: System) -> dict[str, str]:
    rows: list[dict[str, Any]] = first.json("cluster", "certs", "list")
    return {f"{one['of']}/{one['identity']}": one["serial"] for one in rows}


def test_all_is_renewed_while_calls_and_messages_go_on(homes: tuple[System, System]) -> None:
    first, second = homes
    before, working = serials(first), workers(first, second)
    sent = []
    with load(first.url("/price")) as statuses:
        sent += [first.post("/priced") for _ in range(30)]
        assert "are new" in first.ctl("cluster", "certs", "renew")
        sent += [first.post("/priced") for _ in range(30)]
    assert set(statuses) == {200}, statuses
    for message in sent:
        first.wait_state("/priced", message, "done")
    after = serials(first)
    assert {name for name in before if before[name] == after[name]} == CAS
    assert working == workers(first, second)


def test_new_cas_while_calls_and_messages_go_on(homes: tuple[System, System]) -> None:
    first, second = homes
    before, working = serials(first), workers(first, second)
    first.ctl("user", "add", "ann", "--role", "viewer", "--file", str(first.folder / "ann.yaml"))
    sent = []
    with load(first.url("/price")) as statuses:
        sent += [first.post("/priced") for _ in range(30)]
        assert "users with certificates of the old CA: ann" in first.refused("cluster", "certs", "rotate", "--ca",
                                                                               code=4)
        assert {Path(home.home / "pki/etcd-ca.pem").read_text().count("BEGIN") for home in homes} == {2}
        first.ctl("user", "add", "ann", "--role", "viewer", "--file", str(first.folder / "ann.yaml"), "--renew")
        assert "of the new CAs" in first.ctl("cluster", "certs", "rotate", "--ca")
        sent += [first.post("/priced") for _ in range(30)]
    assert set(statuses) == {200}, statuses
    for message in sent:
        first.wait_state("/priced", message, "done")
    after = serials(first)
    assert not set(before.values()) & set(after.values())
    assert working == workers(first, second)
    assert {Path(home.home / "pki/etcd-ca.pem").read_text().count("BEGIN") for home in homes} == {1}
    first.ctl("context", "add", "as-ann", "--file", str(first.folder / "ann.yaml"))
    assert first.json("--context", "as-ann", "node", "list")


def test_what_is_due_is_renewed_by_itself(homes: tuple[System, System], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = homes
    second.ctl("down")
    plant(first, second, monkeypatch, days=1, begun=3)
    planted = serial(second, "worker")
    second.ctl("up")
    eventually(lambda: serial(second, "worker") != planted, 30.0, lambda: log_of(second))
    eventually(lambda: error(second) == "", 30.0, lambda: log_of(second))


def test_what_expired_on_a_node_is_told_with_the_remedy(homes: tuple[System, System],
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = homes
    second.ctl("down")
    plant(first, second, monkeypatch, days=-1, begun=3)
    second.run("up", "--timeout", "5s")
    eventually(lambda: "it expired on" in error(second), 30.0, lambda: log_of(second))
    said = log_of(second)
    assert "worker: it expired on" in said and "arintctl node request" in said
    second.ctl("down")
    join(first, second)
    eventually(lambda: ready(second), 30.0, lambda: log_of(second))


def plant(first: System, second: System, patch: pytest.MonkeyPatch, *, days: int, begun: int) -> None:
    """Certificates for the second home that began and end so many days before and from now."""
    home = Home(second.home)
    with patch.context() as patched:
        patched.setattr(ca, "SKEW", datetime.timedelta(days=begun))
        for name in ("etcd-agent", "agent", "worker"):
            authority = Path(home.identity(name).ca).stem
            ca.issue(first.home / "pki", authority, identity_on(name, "n2"), home.pki, name, days=days)


def serial(system: System, name: str) -> int:
    from cryptography import x509

    data = Path(Home(system.home).identity(name).certificate).read_bytes()
    return x509.load_pem_x509_certificate(data).serial_number


def test_a_revoked_node_is_shut_out_at_once(homes: tuple[System, System]) -> None:
    first, second = homes
    assert "neither a node" in first.refused("cluster", "certs", "revoke", "n2", "--yes", code=2)
    assert "is shut out" in first.ctl("cluster", "certs", "revoke", "node/n2", "--yes")
    assert "n2" not in {one["node"] for one in first.json("node", "list")}
    assert {one["of"]: one["state"] for one in first.json("cluster", "certs", "list")}["node/n2"] == "revoked"
    eventually(lambda: "permission denied" in (told := error(second)) or "does not let this node in" in told, 30.0,
               lambda: log_of(second))
    second.refused("node", "list")
    request = second.ctl("node", "request", "--document", str(second.folder / "asked"))
    second.write({"request": request})
    assert "was revoked" in first.refused("node", "admit", "--document", str(second.folder / "request"), code=4)


def test_a_revoked_user_is_shut_out_at_once(homes: tuple[System, System]) -> None:
    first, _ = homes
    file = first.folder / "bob.yaml"
    first.ctl("user", "add", "bob", "--role", "viewer", "--file", str(file))
    first.ctl("context", "add", "as-bob", "--file", str(file))
    assert first.json("--context", "as-bob", "node", "list")
    first.ctl("cluster", "certs", "revoke", "user/bob", "--yes")
    eventually(lambda: first.run("--context", "as-bob", "node", "list").returncode == 7, 20.0)
    again = str(first.folder / "bob2.yaml")
    assert "was revoked" in first.refused("user", "add", "bob", "--role", "viewer", "--file", again, code=4)
