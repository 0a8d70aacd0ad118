"""What is read here of other machines, and how one is logged in to, without any."""

from __future__ import annotations

from pathlib import Path

import paramiko
import pytest

from arint.bootstrap import ssh
from arint.bootstrap.carrying import decoded
from arint.bootstrap.hostkeys import KnownHosts
from arint.bootstrap.inventory import Host, Source
from arint.bootstrap.passwords import Passwords
from arint.errors import ArintError, NotValidError


@pytest.mark.parametrize("text", [b"gate ssh-ed25519 A\n", b"\xff\xfe gate\n"])
def test_known_hosts_that_cannot_be_read_are_named(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "known_hosts"
    file.write_bytes(text)
    known = KnownHosts(own=tmp_path / "own")
    with pytest.raises(NotValidError, match=str(file)):
        known.prepare(paramiko.SSHClient(), str(file))


def test_what_another_machine_printed_and_is_no_answer() -> None:
    with pytest.raises(ArintError, match="m1: what arintctl printed there cannot be read"):
        decoded(b"Welcome!", list[str], "m1")


def test_a_machine_to_jump_over_is_never_offered_the_password_of_the_target(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("of the target")
    offered: list[tuple[str, str]] = []

    def opened(client: object, way: ssh.Way, over: object, **options: str) -> None:
        if "password" not in options:
            raise paramiko.AuthenticationException
        offered.append((way.host, options["password"]))

    monkeypatch.setattr(ssh, "_open", opened)
    host = Host(cluster="c", node="n", host="target", address="target", ssh_config=False, jump=("ops@gate",),
                password=Source(file=str(tmp_path / "password")))
    ssh.connect(host, KnownHosts(own=tmp_path / "own"), Passwords(lambda purpose: f"typed as {purpose}")).close()
    assert offered == [("gate", "typed as password of ops@gate"), ("target", "of the target")]


def test_this_machine_itself_is_not_reached_over_ssh(tmp_path: Path) -> None:
    host = Host(cluster="c", node="n", host="", address="", local=True)
    with pytest.raises(NotValidError, match="it is this machine itself"):
        ssh.connect(host, KnownHosts(own=tmp_path / "own"), Passwords())
