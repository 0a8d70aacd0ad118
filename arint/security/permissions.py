"""Who may do what in etcd and on the bus: one table, of which the engines' own and the docs' are made. Pure.

Certificates name who somebody is: `<identity>@<node>` for what runs on a node, `user@<name>` for a person. etcd takes
the common name for its user, NATS the whole subject.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from arint.bus import subjects
from arint.store.keys import Keys

ROOT = "root"
"""etcd's own role of whoever may do all."""
AGENT = "agent"
"""The role of node agents in etcd."""

_AUDIT = subjects.AUDIT
_CODE = subjects.CODE


class StoreRole(NamedTuple):
    """A role in etcd: prefixes, or single keys, that it may read and that it may write."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    why: str


class BusRole(NamedTuple):
    """A role on the bus: subjects it may publish on and those it may listen on; what is denied wins."""

    name: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    publish_not: tuple[str, ...]
    subscribe_not: tuple[str, ...]
    why: str


def identity_on(identity: str, node: str) -> str:
    """The common name of what runs on a node; the bare identity where no node is known (tests)."""
    return f"{identity}@{node}" if node else identity


def common_name_of(name: str) -> str:
    """The common name of a person. No identity of a node is called `user`, so that none can be taken for another."""
    return f"user@{name}"


def renewal_subject(node: str) -> str:
    """Where a node without CA keys asks for certificates: nobody else may ask there, so the subject says who asks."""
    return f"renew.{node}"


def agent_role(keys: Keys) -> StoreRole:
    """What every node's agent may do in etcd: follow the configuration, tell of itself, and place while it leads."""
    return StoreRole(
        AGENT,
        reads=(keys.shared, keys.secrets_prefix),
        writes=(keys.nodes_prefix, keys.alive_prefix, keys.near_prefix, keys.rollouts_prefix, keys.assignments_prefix(),
                keys.instances_prefix(), keys.owners_prefix, keys.elections_prefix, keys.certificates_prefix),
        why="follows the configuration, registers what it runs, places while it leads; secrets it reads are sealed")


def worker_role() -> BusRole:
    """What services and channels may do: their messages, streams and consumers; nobody's code, audit or server."""
    api = "$JS.API"
    return BusRole(
        "worker",
        publish=("m.>", "a.>", "d.>", "b.>", "k.>", "n.>", "t.>", "i.>", "rpc.>", "_INBOX.>", "$JS.ACK.>", "$JS.FC.>",
                 f"{api}.INFO", f"{api}.STREAM.>", f"{api}.CONSUMER.>", f"{api}.DIRECT.GET.>", f"{api}.DIRECT.GET.*"),
        subscribe=("a.>", "i.>", "t.>", "rpc.>", "_INBOX.>"),
        publish_not=(
            *(f"{api}.STREAM.{verb}.{stream}" for stream in _core() for verb in ("DELETE", "RESTORE", "SNAPSHOT")),
            f"{api}.STREAM.PEER.REMOVE.*", f"{api}.STREAM.LEADER.STEPDOWN.*", *_all_of(_AUDIT), *_all_of(_CODE)),
        subscribe_not=(),
        why="stores and takes messages, answers calls; cannot touch the audit, the code of services, or the server")


def _all_of(stream: str) -> list[str]:
    """All by which a stream is read, changed or removed."""
    api = "$JS.API"
    return [f"{api}.STREAM.*.{stream}", f"{api}.STREAM.*.*.{stream}", f"{api}.CONSUMER.*.{stream}",
            f"{api}.CONSUMER.*.{stream}.>", f"{api}.CONSUMER.*.*.{stream}.>", f"{api}.DIRECT.GET.{stream}",
            f"{api}.DIRECT.GET.{stream}.>", f"$JS.ACK.{stream}.>"]


def agent_bus_role(node: str) -> BusRole:
    """What the agent's helpers may do on the bus: ask whether it works, renew certificates, fetch code, answer."""
    api = "$JS.API"
    return BusRole(
        "agent",
        publish=(renewal_subject(node), f"{api}.INFO", f"{api}.STREAM.INFO.{_CODE}", f"{api}.DIRECT.GET.{_CODE}",
                 f"{api}.DIRECT.GET.{_CODE}.>", "_INBOX.>"),
        subscribe=("_INBOX.>", subjects.agent_of(node)),
        publish_not=(), subscribe_not=(),
        why="asks whether the broker works, has its node's certificates renewed, fetches the code of services, answers "
            "what its node's agent is asked")


def admin_role() -> BusRole:
    """The break-glass identity of a server's home, which `arintctl` and the administration service take."""
    return BusRole("admin", (">",), (">",), (), (), "whoever holds a server's home may do all but what is the server's")


def user_role(name: str) -> BusRole:
    """A person: asks the administration service by their own name, and hears what it answers to them."""
    return BusRole("user", (f"admin.{name}.>",), (f"reply.{name}.>",), (), (),
                   "asks the administration service in their own name, and hears its answers to them")


def bus_users(nodes: Iterable[str], users: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The `users` of nats.conf: three for each node, one for each person, told apart by their certificates' subject."""
    found = [_bus_user(identity_on(role.name, node), role) for node in sorted(set(nodes))
             for role in (worker_role(), agent_bus_role(node), admin_role())]
    return [*found, *(_bus_user(common_name_of(name), user_role(name)) for name in sorted(set(users)))]


def _bus_user(common: str, role: BusRole) -> dict[str, Any]:
    publish: dict[str, list[str]] = {"allow": list(role.publish)}
    subscribe: dict[str, list[str]] = {"allow": list(role.subscribe)}
    if role.publish_not:
        publish["deny"] = list(role.publish_not)
    if role.subscribe_not:
        subscribe["deny"] = list(role.subscribe_not)
    return {"user": f"CN={common},O=ARINT", "permissions": {"publish": publish, "subscribe": subscribe}}


def _core() -> tuple[str, ...]:
    return (subjects.ACTIONS, subjects.CALLS, subjects.DEAD, subjects.LEDGER, subjects.MARKS, subjects.TOPICS)
