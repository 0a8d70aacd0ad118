"""What placement decides upon, and what it decides: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

Mode = Literal["replicated", "singleton", "every-node"]
State = Literal["starting", "ready", "draining", "failed"]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A service as it should run. `revision` names the resource that declares this version.

    `base` is what its instances are called after: `<base>-<n>`.

    `healthy_after` is how long (seconds) a new instance must be ready before it counts; one that is not ready
    `start_within` seconds after its start counts as failed. `surge` is whether old and new may run side by side.
    """

    service: str
    version: str
    revision: str = ""
    base: str = ""
    replicas: int = 1
    mode: Mode = "replicated"
    labels: Mapping[str, str] = {}
    spread: bool = False
    max_parallel: int = 1
    healthy_after: float = 1.0
    start_within: float = 60.0
    auto_revert: bool = True
    surge: bool = True


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A machine. `alive`: its lease stands. `cordoned`: it keeps what it runs and is given nothing new."""

    name: str
    labels: Mapping[str, str] = {}
    alive: bool = True
    cordoned: bool = False


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One assignment as it is seen. `since` is when it came to its state, on the clock of the one who decides."""

    service: str
    name: str
    version: str
    node: str
    state: State = "starting"
    since: float = 0.0
    error: str = ""


class Rollout(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the platform itself decided about a service's versions; it stands beside what the user declared.

    `stable` is the last version that ran in full, declared by `revision`; `failed` is the one that was given up, for
    the `error` of `instance`, `at` that time (seconds since the epoch; noted by who writes it down).
    """

    stable: str = ""
    revision: str = ""
    failed: str = ""
    error: str = ""
    instance: str = ""
    at: float = 0.0


class Start(msgspec.Struct, frozen=True, order=True):
    """Start an instance of this version on this node; `revision` names the resource that declares it."""

    service: str
    name: str
    version: str
    node: str
    revision: str = ""


class Stop(msgspec.Struct, frozen=True, order=True):
    """Take the assignment of this instance away from this node, which then drains it."""

    service: str
    name: str
    node: str
    reason: str


class Changes(msgspec.Struct, frozen=True):
    """What to do now. `look_again` is when to plan again though nothing has changed; None if never.

    `rollouts` holds those that have changed; None for one that is to be forgotten.
    """

    start: tuple[Start, ...] = ()
    stop: tuple[Stop, ...] = ()
    rollouts: Mapping[str, Rollout | None] = {}
    look_again: float | None = None
    replacing: tuple[str, ...] = ()
    """Services with instances that are still to be replaced."""

    @property
    def none(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.start or self.stop or self.rollouts)
