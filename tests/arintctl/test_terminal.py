"""On a terminal: questions are asked, progress is drawn on it; without one, neither."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import msgspec
import pexpect
import pytest

from arint.home import Home
from arint.operations.progress import silent
from arint.operations.up import UpArguments, free_ports, prepare

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A node that was set up and does not run."""
    home = Home(tmp_path / "home")
    prepare(home, UpArguments(node="n1"), silent)
    return home


def terminal(home: Home, *words: str) -> pexpect.spawn:
    environment = {**os.environ, "XDG_CONFIG_HOME": str(home.path.parent / "config"), "NO_COLOR": "1"}
    return pexpect.spawn(sys.executable, ["-m", "arintctl", *words, "--home", str(home.path)], encoding="utf-8",
                         env=environment, cwd=str(ROOT), timeout=30)


def test_purge_asks_and_takes_no_for_an_answer(home: Home) -> None:
    child = terminal(home, "down", "--purge")
    child.expect("with all messages, configuration and keys")
    child.sendline("n")
    child.expect("not confirmed; nothing was changed")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1
    assert home.exists


def test_purge_removes_after_a_yes(home: Home) -> None:
    child = terminal(home, "down", "--purge")
    child.expect(r"\[y/N\]")
    child.sendline("y")
    child.expect("removed")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert not home.path.exists()


def test_prepare_is_idempotent(home: Home) -> None:
    before = home.node_file.read_bytes(), (home.pki / "cluster-ca.pem").read_bytes()
    prepare(home, UpArguments(node="other", cluster="another"), silent)
    assert (home.node_file.read_bytes(), (home.pki / "cluster-ca.pem").read_bytes()) == before


def test_a_port_that_somebody_took_is_replaced_and_told(home: Home) -> None:
    config = home.load()
    with socket.create_server((config.host, config.ports.nats)):
        moved, told = free_ports(home, config, lambda port: True)
    assert told == (f"nats from port {config.ports.nats} to {moved.ports.nats}",)
    assert home.load() == moved
    assert free_ports(home, moved, lambda port: True) == (moved, ())


def test_a_status_without_an_agent_is_unreachable(home: Home) -> None:
    child = terminal(home, "status")
    child.expect("unreachable: .*no agent answers")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 6


def test_the_editor_changes_a_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from arint.errors import ArintError
    from arintctl.commands.dlq import _in_editor

    monkeypatch.setenv("VISUAL", "sed -i s/1/2/")
    assert _in_editor('{"id": 1}', ".json") == '{"id": 2}'
    monkeypatch.setenv("VISUAL", "false")
    with pytest.raises(ArintError, match="editor failed"):
        _in_editor("x", ".txt")


def test_a_new_home_leaves_the_ports_of_other_homes_alone(home: Home, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    from arintctl import contexts

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    contexts.record(home.path)
    contexts.record(tmp_path / "gone")
    taken = contexts.ports_of_others(tmp_path / "second")
    assert home.load().ports.http in taken
    second = prepare(Home(tmp_path / "second"), UpArguments(avoid=taken), silent)
    assert not taken & set(msgspec.structs.astuple(second.ports))
    assert contexts.ports_of_others(home.path) == frozenset()


def test_progress_does_not_draw_over_a_stream_of_lines(home: Home) -> None:
    code = ("from arintctl.progress import shown\n"
            "with shown(quiet=False): print('a line'); print('another')")
    child = pexpect.spawn(sys.executable, ["-c", code], encoding="utf-8", cwd=str(ROOT), timeout=30)
    child.expect(pexpect.EOF)
    child.close()
    assert child.before == "a line\r\nanother\r\n"


@pytest.mark.parametrize("words", [("get",), ("history",), ("message", "list"), ("why", "X"), ("export",)])
def test_where_nothing_runs_a_command_says_so_at_once(home: Home, words: tuple[str, ...]) -> None:
    begun = time.monotonic()
    child = terminal(home, *words)
    child.expect("does not run .run: arintctl up")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 6
    assert time.monotonic() - begun < 4  # an engine that somebody will start again is waited for, 5 to 12 s
