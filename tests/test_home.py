"""The home folder: private, refused when it is something else, locked, with ports that stay."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from arint.errors import ConflictError, DeniedError, NotFoundError, NotValidError
from arint.home import Home, NodeConfig, default_home, write_private
from arint.ports import Ports, choose_ports, claims, free_port, port_is_free


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "deep" / "home")


def config() -> NodeConfig:
    return NodeConfig(version="0.1.0", cluster="c1", node="n1", ports=Ports(), created=1.5)


def test_folders_and_files_are_private_whatever_the_umask(home: Home) -> None:
    old = os.umask(0)
    try:
        home.make_folders()
        home.save(config())
    finally:
        os.umask(old)
    assert home.path.stat().st_mode & 0o777 == 0o700
    for entry in home.path.iterdir():
        assert entry.stat().st_mode & 0o777 == (0o700 if entry.is_dir() else 0o600), entry


def test_configuration_comes_back(home: Home) -> None:
    home.make_folders()
    assert not home.exists
    home.save(config())
    assert home.exists
    assert home.load() == config()
    home.make_folders()
    assert home.load() == config()


def test_no_home_names_the_command(home: Home) -> None:
    with pytest.raises(NotFoundError, match="arintctl up"):
        home.load()


def test_another_format_is_refused_with_a_remedy(home: Home) -> None:
    home.make_folders()
    home.node_file.write_text('{"format": 2, "anything": []}')
    with pytest.raises(NotValidError, match=r"format 2.*use the release that wrote it"):
        home.load()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', '{"format": "1"}', "\0"])
def test_a_damaged_configuration_is_refused(home: Home, content: str) -> None:
    home.make_folders()
    home.node_file.write_text(content)
    with pytest.raises(NotValidError, match="cannot be read"):
        home.load()


def test_somebody_elses_folder_is_not_taken(home: Home) -> None:
    home.path.mkdir(parents=True, mode=0o755)
    (home.path / "thesis.odt").touch()
    with pytest.raises(NotValidError, match=r"thesis\.odt"):
        home.make_folders()
    assert home.path.stat().st_mode & 0o777 == 0o755
    assert [entry.name for entry in home.path.iterdir()] == ["thesis.odt"]


def test_an_interrupted_set_up_goes_on(home: Home) -> None:
    with home.locked("up"):
        home.make_folders()
    home.make_folders()


def test_a_file_in_the_way_is_an_error(home: Home, tmp_path: Path) -> None:
    (tmp_path / "deep").write_text("")
    with pytest.raises(DeniedError, match="--home"):
        home.make_folders()


def test_the_lock_says_who_holds_it(home: Home) -> None:
    code = f"""
import sys
from arint.home import Home
with Home({str(home.path)!r}).locked("arintctl up"):
    print("held", flush=True)
    sys.stdin.read()
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(ConflictError, match=f"arintctl up, process {holder.pid}"), home.locked("down"):
        pass
    threading.Timer(0.2, holder.kill).start()
    with home.locked("down", wait=20):  # a killed holder holds nothing
        assert "down" in home.lock_file.read_text()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    assert home.lock_file.read_text() == ""


def test_the_agents_lock_is_another(home: Home) -> None:
    home.make_folders()
    with home.agent_lock(), home.locked("up"), pytest.raises(ConflictError, match="node agent"), home.agent_lock():
        pass


def test_a_socket_path_is_never_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    assert Home("/srv/arint").socket == Path("/srv/arint/run/agent.sock")
    long = Home(tmp_path / ("x" * 120))
    assert long.socket == Home(tmp_path / ("x" * 120)).socket
    assert long.socket != Home(tmp_path / ("y" * 120)).socket
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(long.socket))
    long.socket.unlink()
    assert long.socket.parent.stat().st_mode & 0o777 == 0o700


def test_a_public_folder_for_sockets_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"arint-{os.geteuid()}").mkdir()
    (tmp_path / f"arint-{os.geteuid()}").chmod(0o777)
    with pytest.raises(DeniedError, match="private"):
        _ = Home("/" + "x" * 120).socket


def test_the_default_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    monkeypatch.delenv("ARINT_HOME", raising=False)
    assert default_home() == Path("/data/arint")
    monkeypatch.setenv("ARINT_HOME", "/elsewhere")
    assert Home().path == Path("/elsewhere")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    write_private(file, b"old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_private(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_identities_trust_their_own_ca(home: Home) -> None:
    assert home.identity("etcd-agent").ca.endswith("pki/etcd-ca.pem")
    assert home.identity("worker").ca.endswith("pki/cluster-ca.pem")


def test_taken_ports_are_replaced_and_free_ones_kept() -> None:
    wanted = Ports(etcd_client=free_port(), etcd_peer=free_port(), nats=free_port(), http=free_port())
    with socket.socket() as other:
        other.bind(("127.0.0.1", wanted.nats))
        other.listen()
        assert not port_is_free("127.0.0.1", wanted.nats)
        chosen = choose_ports(preferred=wanted)
    assert (chosen.etcd_client, chosen.etcd_peer, chosen.http) == (wanted.etcd_client, wanted.etcd_peer, wanted.http)
    assert chosen.nats not in (wanted.nats, wanted.http)
    assert 10_240 <= chosen.nats < 61_000


def test_no_port_is_given_twice() -> None:
    port = free_port()
    chosen = choose_ports(preferred=Ports(etcd_client=port, etcd_peer=port, nats=port, http=port))
    assert len({chosen.etcd_client, chosen.etcd_peer, chosen.nats, chosen.http}) == 4


def test_two_who_choose_at_once_choose_differently(tmp_path: Path) -> None:
    file = tmp_path / "ports.lock"
    chooser = ("import sys; from pathlib import Path; from arint.ports import Ports, choose_ports, claims\n"
               "with claims(Path(sys.argv[1])) as claim:\n"
               "    print(choose_ports(preferred=Ports(nats=int(sys.argv[2])), claim=claim).nats, flush=True)\n"
               "    sys.stdin.read()")
    port = free_port()
    command = [sys.executable, "-c", chooser, str(file), str(port)]
    with (subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first,
          subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as second):
        assert first.stdout is not None and second.stdout is not None
        chosen = {int(first.stdout.readline()), int(second.stdout.readline())}
        assert len(chosen) == 2 and port in chosen
        first.communicate()
        second.communicate()
    with claims(file) as claim:
        assert claim(port), "a claim ends with its process"
