"""What the agent and its workers say to each other, over a Unix socket that only this user may open.

One JSON object a line. A worker dials the agent's socket, says Hello, receives Orders (again at every change), and
beats once a second. When the agent dies the worker goes on with the last Orders and dials again: that is how a
restarted agent adopts its workers. Workers never hold etcd credentials.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from arint.flows.contracts import Contract
from arint.resources.kinds import Channel, Connection, Flow, Service
from arint.tracing.settings import TraceSettings

Role = Literal["service", "runner", "source", "admin"]
State = Literal["starting", "ready", "draining", "failed"]


class BusSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """How to reach the bus: server addresses, and the paths of the PEM files of this client."""

    servers: tuple[str, ...]
    ca: str
    certificate: str
    key: str
    replicas: int = 1


class Orders(msgspec.Struct, frozen=True, omit_defaults=True, tag="orders", kw_only=True):
    """Everything a worker needs for its work; complete at each change.

    role `service`: `service` is to be served (its code lies in the folder `code`, the packages that it requires in
    `packages`); `flows` are those that call it.
    role `runner`: all flows, connections and services; it runs every stage that is no service call.
    role `admin`: operations, as administrators call them over the bus.
    role `source`: the channels of the transport `source`, served at `host:port`.
    """

    instance: str
    node: str
    role: Role
    bus: BusSettings
    home: str
    change_set: int = 0
    service: Service | None = None
    code: str = ""
    packages: str = ""
    source: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    flows: tuple[Flow, ...] = ()
    services: tuple[Service, ...] = ()
    connections: tuple[Connection, ...] = ()
    channels: tuple[Channel, ...] = ()
    secrets: dict[str, bytes] = {}
    variables: dict[str, str] = {}
    fsync: bool = True
    ended: str = ""
    """Why the process before this one ended without being asked to."""
    traces: TraceSettings | None = None
    contracts: dict[str, Contract] = {}
    """Of the services that the channels lead to, as far as their workers have told them."""


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Take nothing new, finish what has begun within `grace` seconds, then leave."""

    grace: float = 10.0


class Hold(msgspec.Struct, frozen=True, tag="hold"):
    """For what may run only once: this node's lease is certain to be held until then, in seconds of CLOCK_BOOTTIME.

    Said again and again; who does not hear it in time ends by itself (`arint.runtime.holding`).
    """

    until: float


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """A worker's first line."""

    instance: str
    pid: int


class Beat(msgspec.Struct, frozen=True, omit_defaults=True, tag="beat"):
    """A worker's state, once a second. Counters only grow while the process lives."""

    state: State
    change_set: int = 0
    """That of the orders which the state is about: those last carried out, or that failed."""
    processed: int = 0
    failed: int = 0
    dead: int = 0
    accepted: int = 0
    in_flight: int = 0
    circuits: dict[str, float] = {}
    """Open circuits: connection -> since when (seconds since the epoch)."""
    restarts: int = 0
    """How often the program of a `command` had to be started again."""
    last_end: str = ""
    """Why, the last time."""
    error: str = ""
    """Why it is `failed`: with the traceback of user code that does not import."""


class Measures(msgspec.Struct, frozen=True, tag="measures"):
    """What a worker has counted (`arint.meters.snapshot`), with a beat after which it has changed."""

    families: msgspec.Raw


ToWorker = Orders | Drain | Hold
ToAgent = Hello | Beat | Measures | Contract
to_worker = msgspec.json.Decoder(ToWorker)
to_agent = msgspec.json.Decoder(ToAgent)


def encode_line(line: ToWorker | ToAgent) -> bytes:
    """One line, with its line break."""
    return msgspec.json.encode(line) + b"\n"
