"""Servers by majority: what may be added and removed, as properties over any cluster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint.availability.quorum import (
    Server,
    majority,
    replicas,
    told,
    why_not_add,
    why_not_promote,
    why_not_remove,
)


@st.composite
def clusters(draw: st.DrawFn) -> list[Server]:
    count = draw(st.integers(1, 7))
    return [Server(f"n{i}", draw(st.booleans()), draw(st.booleans()) and i > 0) for i in range(count)]


def decides(servers: list[Server]) -> bool:
    voters = [one for one in servers if not one.learner]
    return sum(one.healthy for one in voters) >= majority(len(voters))


@given(clusters())
def test_a_removal_that_is_allowed_leaves_a_majority(servers: list[Server]):
    for one in servers:
        rest = [other for other in servers if other is not one]
        if not one.learner and not why_not_remove(servers, one.name):
            assert decides(rest)


@given(clusters())
def test_what_is_away_can_be_removed_as_long_as_the_others_decide(servers: list[Server]):
    for one in servers:
        if not one.healthy and not one.learner and decides(servers):
            assert why_not_remove(servers, one.name) == ""


@given(clusters())
def test_a_vote_that_is_given_never_ends_the_majority(servers: list[Server]):
    for one in servers:
        if one.learner and not why_not_promote(servers, one.name):
            assert decides([Server(s.name, s.healthy, s.learner and s is not one) for s in servers])


def test_one_at_a_time_and_the_reason_is_told():
    assert "n2" in why_not_add([Server("n1"), Server("n2", learner=True)])
    assert "n2" in why_not_add([Server("n1"), Server("n2", healthy=False), Server("n3")])
    assert why_not_add([Server("n1")]) == ""
    assert why_not_remove([Server("n1")], "n1") == "n1 is the only server"
    assert "n2" in why_not_remove([Server("n1"), Server("n2", healthy=False)], "n1")
    assert why_not_remove([Server("n1")], "n9") == ""


@pytest.mark.parametrize(("servers", "copies", "word"), [(1, 1, "one"), (2, 1, "both"), (3, 3, "1 of"), (5, 3, "2 of")])
def test_what_so_many_can_do(servers: int, copies: int, word: str):
    assert replicas(servers) == copies
    assert word in told(servers)
