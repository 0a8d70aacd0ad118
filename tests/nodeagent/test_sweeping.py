"""What nothing names any more goes; what may still be wanted stays."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint.availability.model import Rollout
from arint.home import Home
from arint.registry.records import Assignment
from arint.resources.canonical import canonical
from arint.resources.kinds import Locked, Service
from arint.resources.requirements import set_digest
from arint.store.changesets import ChangeSets, revision_of
from arint.store.connection import Etcd
from arint.store.keys import Keys
from nodeagent.sweeping import Sweeper, named_by, older, remove, unnamed

HASH = "ab" * 32
LOCKED = Locked("3.11", "linux-x86_64", [f"coins==1.0 --hash=sha256:{HASH}"])


@given(st.lists(st.text("abc", min_size=1)), st.sets(st.text("abc", min_size=1)))
def test_only_what_is_not_named_goes(names: list[str], named: set[str]) -> None:
    assert set(unnamed(names, named)) == set(names) - named


def test_what_services_need() -> None:
    named = named_by([Service(name="a", source="a.py:a", code="c1", locked=LOCKED),
                      Service(name="b", source="b.py:b", code="c2")])
    assert named.artifacts == {"c1", "c2"}
    assert named.requirements == {set_digest(LOCKED)}
    assert named.wheels == {HASH}


def test_a_folder_goes_in_one_move(tmp_path: Path) -> None:
    (tmp_path / "x" / "y").mkdir(parents=True)
    (tmp_path / ".leaving-z").mkdir()
    remove(tmp_path / "x")
    remove(tmp_path / "never-there")
    assert older(tmp_path, 2e10) == [".leaving-z"]
    remove(tmp_path / ".leaving-z")
    assert not list(tmp_path.iterdir())
    assert older(tmp_path / "nowhere", 2e10) == []


@pytest.fixture
async def etcd(shared_etcd: Any) -> AsyncIterator[Etcd]:
    async with Etcd([shared_etcd.endpoint]) as connection:
        yield connection


async def test_what_kept_sets_and_what_runs_names_stays(etcd: Etcd, tmp_path: Path) -> None:
    cluster = f"c{uuid.uuid4().hex}"
    keys, sets, home = Keys(cluster), ChangeSets(etcd, cluster, kept=2), Home(tmp_path / "home")
    home.make_folders()
    assignments: dict[str, Assignment] = {}
    rollouts: dict[str, Rollout] = {}
    views: Any = SimpleNamespace(assignments=SimpleNamespace(snapshot=assignments),
                                 rollouts=SimpleNamespace(snapshot=rollouts))

    async def apply(code: str) -> str:
        content = canonical(Service(name="s", source="s.py:s", code=code, locked=LOCKED if code == "c1" else Locked()))
        await sets.commit({"Service/s": content}, expected_head=await sets.head_number(), author="a", message="")
        home.artifact(code).mkdir(exist_ok=True)
        return revision_of(content)

    def there() -> set[str]:
        return {folder.name for folder in home.artifacts.iterdir()}

    revision = await apply("c1")
    home.requirement_set(set_digest(LOCKED)).mkdir()
    (home.wheels / HASH).mkdir()
    (home.wheels / ("cd" * 32)).mkdir()
    assignments["x"] = Assignment(instance="s-1", service="s", version="v", node="n", revision=revision)
    await etcd.put(keys.assignment("n", "s-1"), msgspec.json.encode(assignments["x"]))
    for code in ("c2", "c3", "c4"):
        await apply(code)
    sweeper = Sweeper(home, etcd, cluster, views)
    assert await sweeper.sweep(grace=3600) == 0
    assert await sweeper.sweep(grace=-1) == 2
    assert there() == {"c1", "c3", "c4"}, "c1 still runs, though no kept set names it"
    assert [folder.name for folder in home.wheels.iterdir()] == [HASH]

    rollouts["s"] = Rollout(stable="v", revision=revision)
    await etcd.put(keys.rollout("s"), msgspec.json.encode(rollouts["s"]))
    assignments.clear()
    await etcd.delete(keys.assignment("n", "s-1"))
    await apply("c5")
    assert await sweeper.sweep(grace=-1) == 1
    assert there() == {"c1", "c4", "c5"}, "c1 would be gone back to"

    rollouts.clear()
    await etcd.delete(keys.rollout("s"))
    await apply("c6")
    await sweeper.sweep(grace=-1)
    assert there() == {"c5", "c6"}
    assert not list(home.requirements.iterdir())
    assert not list(home.wheels.iterdir())


def test_what_is_wanted_again_is_young(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.utime(tmp_path / "a", (1000, 1000))
    assert older(tmp_path, 2000.0) == ["a"]
    os.utime(tmp_path / "a")
    assert older(tmp_path, 2000.0) == []
