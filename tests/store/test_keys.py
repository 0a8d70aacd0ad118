from __future__ import annotations

import pytest

from arint.errors import NotValidError
from arint.store.keys import Keys, candidate, parse_assignment, parse_instance

KEYS = Keys("one")


def test_what_agents_may_not_read_sorts_first():
    hidden = [KEYS.secret("s", "d"), KEYS.user("ann"), KEYS.audit_head("log")]
    assert max(hidden) < KEYS.restricted + "~" < KEYS.shared < KEYS.head


def test_what_agents_may_read_of_the_restricted_sorts_last_there():
    """etcd below 3.5.33 leaks watches upwards from what may be read: above stand the users' roles, and no secret."""
    assert max(KEYS.audit_head("log"), KEYS.ring) < KEYS.secrets_prefix < KEYS.users_prefix


def test_numbers_sort_as_numbers():
    assert KEYS.change_set(9) < KEYS.change_set(10) < KEYS.change_set(11_000)


def test_no_cluster_begins_with_another():
    assert not Keys("one-more").head.startswith(KEYS.root)


def test_the_layout():
    assert KEYS.head == "/arint/one/z/head"
    assert KEYS.resource("Flow/orders", "ab") == "/arint/one/z/resources/Flow/orders/ab"
    assert KEYS.instance("price", "price-1") == "/arint/one/z/instances/price/price-1"
    assert KEYS.assignment("n1", "price-1").startswith(KEYS.assignments_prefix("n1"))
    assert candidate(KEYS.election_prefix("placement"), 255) == "/arint/one/z/elections/placement/00000000000000ff"


@pytest.mark.parametrize("service", ["price", "system/runner"])
def test_instances_are_parsed_back(service: str):
    key = KEYS.instance(service, "x-1")
    assert parse_instance(key.removeprefix(KEYS.instances_prefix())) == (service, "x-1")


def test_assignments_are_parsed_back():
    assert parse_assignment(KEYS.assignment("n1", "x-1").removeprefix(KEYS.assignments_prefix())) == ("n1", "x-1")


@pytest.mark.parametrize("bad", ["", "a/b", "/", "\0"])
def test_names_that_would_leave_their_prefix_are_refused(bad: str):
    for build in (KEYS.node, KEYS.user, KEYS.owner, KEYS.election_prefix, Keys, lambda n: KEYS.secret("s", n),
                  lambda n: KEYS.instance("price", n), lambda n: KEYS.resource(f"Flow/{n}", "ab")):
        with pytest.raises(NotValidError):
            build(bad)
