"""The scripts that run on machines, in folders here."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
import time
from pathlib import Path

from arint.bootstrap import carrying


def shell(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", script, "arint", *arguments], capture_output=True, text=True, timeout=60,
                          check=False)


def release(prefix: Path, name: str) -> Path:
    folder = prefix / name
    folder.mkdir(parents=True)
    (folder / "bundle.json").write_text("{}")
    return folder


def test_only_releases_are_uninstalled_from_a_folder_that_holds_more(tmp_path: Path) -> None:
    other = release(tmp_path / "elsewhere", "theirs")
    prefix = tmp_path / "prefix"
    for name in ("1.0", "1.1"):
        release(prefix, name)
    (prefix / ".half-1.2").mkdir()
    (prefix / "current").symlink_to("1.1")
    (prefix / "theirs").symlink_to(other)
    (prefix / "file").symlink_to("/etc/hostname")
    (prefix / "folder").mkdir()
    assert shell(carrying._UNINSTALL, str(prefix), "1.1", "current").returncode == 0
    assert {one.name for one in prefix.iterdir()} == {"1.1", "current", "theirs", "file", "folder"}
    assert shell(carrying._UNINSTALL, str(prefix)).returncode == 0
    assert {one.name for one in prefix.iterdir()} == {"theirs", "file", "folder"}
    assert (other / "bundle.json").exists()


def test_a_pid_file_whose_process_is_another_by_now_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/supervisord.pid").write_text(f"{os.getpid()}\n")
    begun = time.monotonic()
    assert shell(carrying._STOP, str(tmp_path), "30").returncode == 0
    assert time.monotonic() < begun + 20


def test_what_a_loss_of_power_left_of_a_release_is_replaced(tmp_path: Path) -> None:
    prefix, archive = tmp_path / "prefix", tmp_path / "1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(release(tmp_path / "made", "1.0") / "bundle.json", "bundle.json")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    (prefix / "1.0/rest").mkdir(parents=True)
    done = shell(carrying._INSTALL, str(archive), "1.0", str(prefix), digest)
    assert done.returncode == 0, done.stderr
    assert [one.relative_to(prefix).as_posix() for one in sorted(prefix.rglob("*"))] == ["1.0", "1.0/bundle.json"]
