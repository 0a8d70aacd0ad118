"""The kinds of resources: what a user may declare. Each struct is one YAML document; unknown keys are an error.

Durations ("500ms", "2s", "5m", "24h", "7d") and sizes ("256KiB", "1MiB", "2GB") stay as text in the spec and are
read with `seconds()` and `octets()` of `arint.resources.quantities`, so that export gives back what was written.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", max_length=63,
                                   description="a DNS label: lower-case letters, digits, hyphens")]
Duration = Annotated[str, msgspec.Meta(pattern=r"^\d+(\.\d+)?(ms|s|m|h|d)$",
                                       description="such as 500ms, 2s, 5m, 24h, 7d")]
Size = Annotated[str, msgspec.Meta(pattern=r"^\d+(\.\d+)?(B|KB|MB|GB|KiB|MiB|GiB)?$",
                                   description="such as 256KiB, 2GB")]
Backoff = Annotated[str, msgspec.Meta(pattern=r"^\d+(\.\d+)?(ms|s|m|h|d)\.\.\d+(\.\d+)?(ms|s|m|h|d)$",
                                      description="first..longest, such as 1s..5m; doubled each time, with jitter")]
Processors = Annotated[float, msgspec.Meta(gt=0, le=1024)]
Variable = Annotated[str, msgspec.Meta(pattern=r"^(?!ARINT_)[A-Za-z_][A-Za-z0-9_]*$",
                                       description="letters, digits and _; names that begin with ARINT_ are taken")]
Account = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z_][a-zA-Z0-9_.-]{0,63}$", description="a user's name")]
Word = Annotated[str, msgspec.Meta(max_length=4096, pattern=r"^[^\x00]+$",
                                   description="a program or an argument: not empty")]
Reference = Annotated[str, msgspec.Meta(pattern=r"^(service|flow|connection|topic)/[a-z0-9.-]+$",
                                        description="kind/name, such as service/price")]


MaskPath = Annotated[str, msgspec.Meta(pattern=r"^(body|headers|vars)(\.[^.\s]+)*$",
                                       description="such as body.card.number, headers.x-key, vars.pin; body: all")]


class SecretReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`{secret: name}`: the value stands in a Secret, never in a manifest."""

    secret: Name


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How often a failing message is tried, and how long between."""

    attempts: Annotated[int, msgspec.Meta(ge=1, le=1000, description="then it is a dead letter")] = 8
    backoff: Backoff = "1s..5m"


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one instance may use, with all that it starts. A change needs no new process."""

    memory: Annotated[Size | None, msgspec.Meta(description="then it is ended; without: half of the machine's")] = None
    cpu: Annotated[Processors | None, msgspec.Meta(description="processors, such as 0.5; without: all")] = None
    processes: Annotated[int, msgspec.Meta(ge=16, le=100_000, description="processes and threads at once")] = 512


class Placement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where instances may run, and beside what."""

    labels: Annotated[dict[str, str], msgspec.Meta(description="that a node must have")] = {}
    spread: Annotated[str, msgspec.Meta(
        pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$",
        description="node, or a label such as zone: as evenly as possible over its values")] = ""
    anti_affinity: Annotated[list[Name], msgspec.Meta(
        max_length=100, description="services not started on one node with it; its own name: one on each node")] = []


class Update(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a new version replaces the old one."""

    max_parallel: Annotated[int, msgspec.Meta(ge=1, description="instances of the new version at once")] = 1
    healthy_after: Annotated[Duration, msgspec.Meta(description="ready for so long counts as healthy")] = "1s"
    auto_revert: Annotated[bool, msgspec.Meta(description="keep the old version if the new one fails")] = True
    canary: Annotated[int, msgspec.Meta(ge=0, le=1000, description=(
        "so many of a new version run beside the old ones until it is promoted"))] = 0


class Locked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What requirements were resolved to, for one Python on one platform."""

    python: str = ""
    platform: str = ""
    packages: Annotated[list[str], msgspec.Meta(description="name==version --hash=sha256:…, dependencies too")] = []


class Service(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What processes messages, one process a replica: a Python callable, or a program in any language.

    Exactly one of `source` and `command` is written.
    """

    name: Name
    source: Annotated[str, msgspec.Meta(pattern=r"^[^:]+\.py:[A-Za-z_][A-Za-z0-9_.]*$",
                                        description="file.py:callable, the file relative to the manifest")] = ""
    command: Annotated[list[Word], msgspec.Meta(max_length=256, description=(
        "the program and its arguments; files of the manifest's folder are shipped"))] = []
    framing: Annotated[Literal["ndjson", "http"], msgspec.Meta(
        description="how a `command` is given its messages")] = "ndjson"
    description: str = ""
    code: Annotated[str, msgspec.Meta(description="digest of the shipped code; set by apply")] = ""
    include: Annotated[list[str], msgspec.Meta(description="globs of further files to ship")] = []
    requirements: Annotated[list[str] | str, msgspec.Meta(
        description="Python packages such as httpx>=0.28, or a requirements.txt; resolved at apply, shipped")] = []
    locked: Annotated[Locked, msgspec.Meta(description="what the requirements were resolved to; set by apply")] = (
        Locked())
    replicas: Annotated[int, msgspec.Meta(ge=0, le=10000, description="how many processes")] = 1
    mode: Literal["replicated", "singleton", "every-node"] = "replicated"
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=10000, description="messages at once in one instance")] = 64
    timeout: Annotated[Duration, msgspec.Meta(description="of one attempt")] = "30s"
    colocate: Annotated[bool, msgspec.Meta(
        description="immediate calls run in the listener's own process: faster, but not apart from it")] = False
    config: Annotated[dict[str, Any], msgspec.Meta(description="what `ctx.config` holds")] = {}
    secrets: Annotated[list[Name], msgspec.Meta(description="those that `ctx.secret` may read")] = []
    user: Annotated[Account | None, msgspec.Meta(description="who it runs as; the agent must be root")] = None
    env: Annotated[dict[Variable, str | SecretReference], msgspec.Meta(
        max_length=1000, description="its environment, beside PATH, HOME and the locale")] = {}
    resources: Limits = Limits()
    placement: Placement = Placement()
    update: Update = Update()

    def __post_init__(self) -> None:
        if bool(self.source) == bool(self.command):
            raise ValueError("exactly one of source and command is needed")


class Flow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Steps that a message goes through. Each is a mapping with the step's key (and optionally `name`, `retry`)."""

    name: Name
    steps: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)]
    description: str = ""
    order_by: Annotated[str, msgspec.Meta(
        description="CEL: messages with the same value go through the flow one after the other")] = ""
    retry: Retry = Retry()
    unavailable_for: Annotated[Duration, msgspec.Meta(description="how long to wait for a system that is away")] = "24h"
    keep: Annotated[Duration, msgspec.Meta(description="how long processed messages stay to be looked at")] = "24h"
    max_bytes: Annotated[Size, msgspec.Meta(description="the stream's limit; a full one answers 503")] = "256MiB"
    mask: Annotated[list[MaskPath], msgspec.Meta(
        description="what is not shown of messages, nor logged, beside what looks secret by its name")] = []


class Channel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Where messages come in. Exactly one transport key (`http: {...}`), kept in `transport` and `spec`."""

    name: Name
    to: Annotated[Reference, msgspec.Meta(description="flow/NAME or service/NAME; connection/NAME with queries")]
    transport: str
    spec: dict[str, Any]
    description: str = ""
    delivery: Annotated[Literal["guaranteed", "immediate"], msgspec.Meta(
        description="guaranteed: stored, then answered; immediate: processed, then answered")] = "guaranteed"
    queries: Annotated[dict[str, dict[str, Any]], msgspec.Meta(
        description="to a connection: what it publishes of it, by name")] = {}
    idempotency_for: Annotated[Duration, msgspec.Meta(description="how long an idempotency key counts")] = "24h"
    mask: Annotated[list[MaskPath], msgspec.Meta(
        description="what is not shown of messages that came in here, beside what looks secret by its name")] = []


class Connection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """An external system messages are sent to. Exactly one transport key, kept in `transport` and `spec`."""

    name: Name
    transport: str
    spec: dict[str, Any]
    description: str = ""


class SecretSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where apply reads the value: an environment variable, or a file relative to the manifest. One of the two."""

    env: Annotated[str, msgspec.Meta(description="an environment variable of whoever applies")] = ""
    file: Annotated[str, msgspec.Meta(description="a file; relative to the manifest")] = ""


class Secret(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A value, sealed before it is stored. `digest` (set by apply) is keyed: it tells only whether it changed."""

    name: Name
    description: str = ""
    source: Annotated[SecretSource | None, msgspec.Meta(description="written `from:` in a manifest")] = msgspec.field(
        default=None, name="from")
    digest: str = ""


VariableName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]


class Variables(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Values that channels, connections and services name as `${NAME}`: what differs from one cluster to another.

    Each name is declared once. Values are no secrets.
    """

    name: Name
    values: Annotated[dict[VariableName, str], msgspec.Meta(min_length=1)]
    description: str = ""


Resource = Variables | Service | Flow | Channel | Connection | Secret
KINDS: dict[str, type[msgspec.Struct]] = {
    "Variables": Variables, "Secret": Secret, "Connection": Connection, "Service": Service, "Flow": Flow,
    "Channel": Channel,
}
"""In the order in which they are listed and applied: what is referred to comes first."""


def kind_of(resource: msgspec.Struct) -> str:
    """The kind's name, as in the manifest."""
    return type(resource).__name__


def key_of(resource: Any) -> str:
    """`Kind/name`, the resource's identity."""
    return f"{kind_of(resource)}/{resource.name}"
