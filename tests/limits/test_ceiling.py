"""From what is declared to what is held, and in which words an excess is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint.engines.procfs import Stat
from arint.limits.ceiling import LEAST_MEMORY, Ceiling, Usage, ceiling_of, cpu_max, excess, told
from arint.limits.rlimits import Member, members_of
from arint.resources.kinds import Limits

GIB = 2**30


def test_what_is_declared_and_what_holds_without() -> None:
    assert ceiling_of(Limits(memory="256MiB", cpu=0.5, processes=100), 8 * GIB) == Ceiling(2**28, 0.5, 100)
    assert ceiling_of(Limits(), 8 * GIB) == Ceiling(4 * GIB, 0.0, 512, is_declared=False)
    assert ceiling_of(Limits(memory="1KiB"), GIB).memory == LEAST_MEMORY


@pytest.mark.parametrize(("cpu", "line"), [(0.5, "50000 100000"), (2.0, "200000 100000"), (0.0, "max 100000"),
                                           (0.0001, "1000 100000")])
def test_processors_become_a_quota(cpu: float, line: str) -> None:
    assert cpu_max(cpu) == line


def test_an_excess_is_told_with_its_limit_and_the_key_to_change() -> None:
    ceiling = Ceiling(2**28, 0.5, 100)
    assert excess(Usage(2**28, 100), ceiling) == ""
    assert excess(Usage(2**28 + 1, 1), ceiling) == "it used its 256 MiB: ended by the agent (see resources.memory)"
    assert "101 processes and threads of the 100 allowed" in excess(Usage(1, 101), ceiling)
    assert "half of the machine's memory, 4 GiB" in excess(Usage(5 * GIB, 1), Ceiling(4 * GIB, is_declared=False))


@pytest.mark.parametrize(("size", "words"), [(0, "0 B"), (1536, "1.5 KiB"), (2**28, "256 MiB"), (3 * GIB, "3 GiB")])
def test_sizes_in_words(size: int, words: str) -> None:
    assert told(size) == words


@given(st.dictionaries(st.integers(2, 40), st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=30),
       st.integers(2, 40), st.sets(st.integers(2, 40), max_size=4))
def test_an_instance_is_its_session_its_descendants_and_who_was_known(tree: dict[int, tuple[int, int]], pid: int,
                                                                      known: set[int]) -> None:
    stats = {one: Stat("S", session, one, 0, parent) for one, (parent, session) in tree.items()}
    before = frozenset(Member(one, one) for one in known)
    found = {member.pid for member in members_of(pid, before, stats)}
    assert found <= stats.keys()
    seeds = {one for one in stats if one == pid or stats[one].session == pid} | known & stats.keys()
    assert seeds <= found
    assert all(one in found for one in stats if stats[one].parent in found)
    assert all(one in seeds or stats[one].parent in found | {pid} for one in found)
    stale = frozenset(Member(one, one + 1) for one in known)
    assert members_of(-1, stale, stats) == frozenset(), "a pid that is used again is another process"
