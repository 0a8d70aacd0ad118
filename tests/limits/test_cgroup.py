"""Control groups: what is written where, on files that stand for the kernel's; and the real ones, where permitted."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from arint.engines.process import Process
from arint.errors import ArintError
from arint.home import Home
from arint.limits import cgroup
from arint.limits.ceiling import Ceiling
from arint.limits.cgroup import Group, Groups, find
from arint.limits.fence import Fences, GroupFence
from tests.patience import PATIENCE

LEAK = "kept = []\nwhile True: kept.append(bytearray(2**20))"


def tree(tmp_path: Path, own: str = "/", controllers: str = "cpu memory pids", procs: str = "") -> Path:
    """A /proc and a cgroup mount that say so; the mount is returned."""
    mount = tmp_path / "cgroup"
    place = mount / own.lstrip("/")
    place.mkdir(parents=True)
    for folder in {mount, place}:
        (folder / "cgroup.controllers").write_text(controllers)
        (folder / "cgroup.subtree_control").write_text("")
        (folder / "cgroup.procs").write_text(procs)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(
        f"22 1 0:5 / /proc rw - proc proc rw\n30 22 0:26 / {mount} rw,nosuid - cgroup2 cgroup2 rw\n")
    (tmp_path / "proc/self/cgroup").write_text(f"4:memory:/other\n0::{own}\n")
    return mount


def test_each_instance_has_a_group_with_its_limits(tmp_path: Path) -> None:
    mount = tree(tmp_path)
    groups = find(tmp_path / "home", proc=tmp_path / "proc")
    assert groups.parent.parent == mount
    assert (mount / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert (groups.parent / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    group = groups.group("price-1")
    group.folder.mkdir()
    (group.folder / "cpu.max").touch()
    group.make(Ceiling(2**28, 0.5, 100))
    group.add(4711)
    assert {file.name: file.read_text() for file in group.folder.iterdir()} == {
        "memory.max": str(2**28), "memory.oom.group": "1", "memory.swap.max": "0", "pids.max": "100",
        "cpu.max": "50000 100000", "cgroup.procs": "4711"}


def test_the_kernels_word_on_what_it_ended_counts_from_the_making(tmp_path: Path) -> None:
    group = Group(tmp_path / "g")
    group.folder.mkdir()
    (group.folder / "memory.events").write_text("low 0\noom 3\noom_kill 3\n")
    (group.folder / "pids.events").write_text("max 7\n")
    group.make(Ceiling(2**28))
    assert not group.killed_for_memory
    (group.folder / "memory.events").write_text("low 0\noom 4\noom_kill 5\n")
    fence = GroupFence(group, Ceiling(2**28))
    assert group.killed_for_memory
    assert fence.left() == "it used its 256 MiB: ended by the kernel (see resources.memory)"
    assert group.forks_refused == 7


@pytest.mark.parametrize(("changes", "words"), [
    ({"controllers": "hugetlb"}, "no controller memory or pids"),
    ({"controllers": "cpu memory"}, "no controller pids"),
])
def test_without_its_controllers_there_is_none_to_be_had(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    tree(tmp_path, **changes)
    with pytest.raises(ArintError, match=words):
        find(tmp_path / "home", proc=tmp_path / "proc")


def test_without_a_mount_or_a_place_to_write(tmp_path: Path) -> None:
    with pytest.raises(ArintError, match="no cgroup v2 is mounted"):
        find(tmp_path / "home", proc=tmp_path / "proc")
    with pytest.raises(ArintError, match="gone"):
        find(tmp_path / "home", named=str(tmp_path / "gone"))


def test_processes_of_others_are_not_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that holds processes hands nothing down: ours go one down, those of others stay."""
    mount = tree(tmp_path, own="/user.slice", procs=f"{os.getpid()}\n")
    place, tried = mount / "user.slice", []

    def refuse_once(where: Path, controllers: list[str]) -> None:
        tried.append(where)
        if len(tried) == 1:
            raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(cgroup, "_write_controllers", refuse_once)
    find(tmp_path / "home", proc=tmp_path / "proc")
    assert (place / "arint-agent/cgroup.procs").read_text() == str(os.getpid())
    tried.clear()
    (place / "cgroup.procs").write_text(f"{os.getpid()}\n1\n")
    (mount / "cgroup.controllers").write_text("")
    with pytest.raises(ArintError, match="process 1, which is not ARINT's, is in it"):
        find(tmp_path / "home2", proc=tmp_path / "proc")


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Groups]:
    try:
        groups = find(tmp_path / "home")
    except ArintError as error:
        pytest.skip(f"the kernel's control groups are not to be had here: {error}")
    yield groups
    groups.close()
    assert not groups.parent.exists()


async def ended(process: Process, within: float = PATIENCE) -> None:
    async with asyncio.timeout(within):
        await process.wait()


async def test_the_kernel_ends_a_leak_and_all_its_children(tmp_path: Path, real: Groups) -> None:
    home = Home(tmp_path / "home")
    home.make_folders()
    fence = Fences(home.path).around("leak-1", Ceiling(2**26))
    code = f"import subprocess\nsubprocess.Popen(['sleep', '300'], start_new_session=True)\n{LEAK}"
    process = Process(home, "leak-1", [sys.executable, "-c", code], fence=fence)
    process.start()
    group = real.group("leak-1")
    await ended(process)
    assert process.ended_by == "it used its 64 MiB: ended by the kernel (see resources.memory)"
    assert not group.pids()


async def test_the_kernel_bounds_forks_and_ends_what_escapes(tmp_path: Path, real: Groups) -> None:
    home = Home(tmp_path / "home")
    home.make_folders()
    code = ("import os, time\nfor n in range(200):\n  try:\n    os.fork() or (os.setsid(), time.sleep(300))\n"
            "  except OSError: print('refused', n, flush=True); break\ntime.sleep(300)")
    process = Process(home, "forks-1", [sys.executable, "-c", code],
                      fence=Fences(home.path).around("forks-1", Ceiling(2**30, 0.0, 32)))
    process.start()
    async with asyncio.timeout(PATIENCE):
        while "refused" not in process.log_tail():
            await asyncio.sleep(0.01)
    assert len(real.group("forks-1").pids()) <= 32
    process.kill()
    await ended(process)
    async with asyncio.timeout(PATIENCE):
        while real.group("forks-1").pids():
            await asyncio.sleep(0.01)
