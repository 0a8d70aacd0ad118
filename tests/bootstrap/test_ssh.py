"""What is read here of other machines, and how one is logged in to, without any."""

from __future__ import annotations

from pathlib import Path

import paramiko
import pytest

from arint.bootstrap.carrying import decoded
from arint.bootstrap.hostkeys import KnownHosts
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
