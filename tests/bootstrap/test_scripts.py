"""The scripts that run on machines, in folders here."""

from __future__ import annotations

import os
import subprocess
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
