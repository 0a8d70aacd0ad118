"""The records of nodes, of what is assigned to them, and of what runs; JSON in etcd, one key each."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["starting", "ready", "draining", "failed"]


class NodeRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a node says of itself; it stays while the node is away. `cordoned`: it is given nothing new."""

    name: str
    release: str = ""
    host: str = ""
    labels: dict[str, str] = {}
    cordoned: bool = False


class Alive(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A node that lives; leased. `since` is when its agent started, in seconds since the epoch."""

    node: str
    pid: int = 0
    since: float = 0.0


class Assignment(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """That a node is to run an instance. `revision` is that of the Service resource; a system's service has none."""

    instance: str
    service: str
    version: str
    node: str
    revision: str = ""


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
