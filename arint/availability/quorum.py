"""What a cluster of servers can do, and what may be done to it: etcd and the broker decide by majority. Pure."""

from __future__ import annotations

from collections.abc import Collection

import msgspec


class Server(msgspec.Struct, frozen=True):
    """A member of etcd. A learner receives everything and votes on nothing."""

    name: str
    healthy: bool = True
    learner: bool = False


def majority(voters: int) -> int:
    """How many must live for a decision."""
    return voters // 2 + 1


def replicas(servers: int) -> int:
    """In how many copies each stream is kept by so many brokers.

    Two copies would need both brokers for every message: one is as safe against a death, and is there more often.
    """
    return 3 if servers >= 3 else 1


def told(servers: int) -> str:
    """What so many servers can and cannot do, for people."""
    if servers == 2:
        return ("two servers: every message is stored on one of them, and the configuration needs both: when either "
                "is away nothing can be changed, and singletons stop. Add a third, or use one")
    spare = servers - majority(servers)
    if not spare:
        return "one server: when it is away nothing is accepted; what it stored is there again when it is back"
    return f"{servers} servers: {spare} of them may be away"


def why_not_add(servers: Collection[Server]) -> str:
    """Why no server can be added now; empty where one can. It begins as a learner, so it takes no vote away."""
    learners = [one.name or "(not started yet)" for one in servers if one.learner]
    if learners:
        return f"{learners[0]} is still being added: servers are added one at a time"
    return _without_quorum(servers)


def why_not_promote(servers: Collection[Server], name: str) -> str:
    """Why the learner cannot be given a vote; empty where it can, or has one."""
    found = {one.name: one for one in servers}.get(name)
    if found is None:
        return f"{name} is no server"
    if not found.learner:
        return ""
    if not found.healthy:
        return f"{name} does not answer: with a vote it would count as one that is away"
    return _without_quorum(servers)


def why_not_remove(servers: Collection[Server], name: str) -> str:
    """Why the server cannot be removed; empty where it can, or is none."""
    found = {one.name: one for one in servers}.get(name)
    if found is None or found.learner:
        return ""
    rest = [one for one in servers if not one.learner and one.name != name]
    if not rest:
        return f"{name} is the only server"
    healthy = sum(one.healthy for one in rest)
    if healthy < majority(len(rest)):
        away = ", ".join(sorted(one.name for one in rest if not one.healthy))
        return (f"of the {len(rest)} servers that would be left {healthy} would answer, and {majority(len(rest))} are "
                f"needed; away: {away}")
    return ""


def _without_quorum(servers: Collection[Server]) -> str:
    """Why one voter more would be unsafe: until it answers it counts as away."""
    voters = [one for one in servers if not one.learner]
    healthy = sum(one.healthy for one in voters)
    if healthy < len(voters):
        away = ", ".join(sorted(one.name for one in voters if not one.healthy))
        return f"a server does not answer: {away}; one more would only raise the number that must"
    return ""
