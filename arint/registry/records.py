"""The records of nodes, of what is assigned to them, and of what runs; JSON in etcd, one key each."""

from __future__ import annotations

from typing import Literal

import msgspec

from arint.ports import Ports

State = Literal["starting", "ready", "draining", "failed"]
Role = Literal["server", "worker", "edge"]


class Capacity(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node has for instances: processors, and bytes of memory. 0: not declared, so that none is counted."""

    cpu: float = 0.0
    memory: int = 0


class NodeRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a node says of itself; it stays while the node is away.

    Labels, and what follows them, are the administrator's to change. `cordoned`: it is given nothing new. `drain`: what
    it runs moves to other nodes; `force`: what none of them takes is stopped all the same.
    """

    name: str
    release: str = ""
    host: str = ""
    roles: tuple[Role, ...] = ("server", "worker")
    ports: Ports = Ports()
    capacity: Capacity = Capacity()
    labels: dict[str, str] = {}
    cordoned: bool = False
    drain: Literal["", "move", "force"] = ""


class Alive(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A node that lives; leased. `since` is when its agent started, in seconds since the epoch.

    `change_set`: the newest one by which all that is assigned to it serves. `settled`: of the node that leads, the
    newest one for which nothing is left to be placed or replaced; -1 for all others.
    """

    node: str
    pid: int = 0
    since: float = 0.0
    change_set: int = 0
    settled: int = -1


class Near(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How far other nodes are from this one, in seconds for a round trip; leased. Those not reached are left out."""

    node: str
    seconds: dict[str, float] = {}


class Assignment(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """That a node is to run an instance. `revision` is that of the Service resource; a system's service has none.

    `round` is how often the service had been asked to restart by then.
    """

    instance: str
    service: str
    version: str
    node: str
    revision: str = ""
    round: int = 0


class Registration(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A live instance; leased by its node. Counters grow while the process lives, and are written now and then."""

    instance: str
    service: str
    version: str
    node: str
    state: State = "starting"
    pid: int = 0
    error: str = ""
    processed: int = 0
    failed: int = 0
    dead: int = 0
    accepted: int = 0
    in_flight: int = 0


def without_counters(registration: Registration) -> Registration:
    """What others must know at once."""
    return msgspec.structs.replace(registration, processed=0, failed=0, dead=0, accepted=0, in_flight=0)
