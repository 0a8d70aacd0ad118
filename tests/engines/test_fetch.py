"""The real etcd of Debian, fetched with the real apt; and what is said where that does not work."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from arint.engines import apt as apt_module
from arint.engines.apt import Apt
from arint.engines.fetch import fetch_engine, origin_of
from arint.engines.find import Program, find_etcd
from arint.errors import NotFoundError, UsageError


def test_the_fetched_etcd_is_new_enough_and_is_what_was_recorded(cluster_etcd: Program) -> None:
    assert cluster_etcd.version >= (3, 5, 16)
    origin = origin_of(Path(cluster_etcd.path))
    assert origin is not None
    assert hashlib.sha256(Path(cluster_etcd.path).read_bytes()).hexdigest() == origin.sha256["etcd"]
    told = subprocess.run([str(Path(cluster_etcd.path).with_name("etcdutl")), "version"], capture_output=True,
                          text=True, timeout=20, check=True).stdout
    assert cluster_etcd.version_text in told


def test_one_that_is_there_is_kept(cluster_etcd: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path(cluster_etcd.path).parents[3]))
    monkeypatch.delenv("ARINT_ETCD", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")  # without apt
    result = fetch_engine("etcd")
    assert result.already_there
    assert result.path == cluster_etcd.path
    assert find_etcd(members=3).path == cluster_etcd.path


def test_a_suite_that_there_is_not_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(NotFoundError, match=r"nosuchsuite.*ARINT_ETCD"):
        fetch_engine("etcd", suite="nosuchsuite")
    assert [file.name for file in (tmp_path / "arint/engines").iterdir()] == ["lock"]


def test_without_debian_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "os-release"
    other.write_text('ID=other\nVERSION_CODENAME="x"\n')
    monkeypatch.setattr(apt_module, "_OS_RELEASE", other)
    with pytest.raises(NotFoundError, match="Debian"):
        Apt(tmp_path / "apt", "trixie")


def test_only_etcd_is_fetched() -> None:
    with pytest.raises(UsageError, match="nats-server"):
        fetch_engine("nats-server")
