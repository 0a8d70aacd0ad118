"""What placement decides upon, and what it decides: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

Mode = Literal["replicated", "singleton", "every-node"]
State = Literal["starting", "ready", "draining", "failed"]
Drain = Literal["", "move", "force"]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A service as it should run. `revision` names the resource that declares this version.

    `base` is what its instances are called after: `<base>-<n>`.

    `labels` are those that its nodes must have. `spread`: over `node`s, or over the values of a label. `apart`: the
    services beside which it is not started (its own name: one on each node at the most), and they not beside it.
    `cpu` (processors) and `memory` (bytes) are what one instance takes of a node's; 0 is not counted.

    `healthy_after` is how long (seconds) a new instance must be ready before it counts; one that is not ready
    `start_within` seconds after its start counts as failed. `surge` is whether old and new may run side by side.
    `canary`: so many of a new version run beside the stable one until it is promoted.
    """

    service: str
    version: str
    revision: str = ""
    base: str = ""
    replicas: int = 1
    mode: Mode = "replicated"
    labels: Mapping[str, str] = {}
    spread: str = ""
    apart: tuple[str, ...] = ()
    cpu: float = 0.0
    memory: int = 0
    max_parallel: int = 1
    healthy_after: float = 1.0
    start_within: float = 60.0
    auto_revert: bool = True
    surge: bool = True
    canary: int = 0

    @property
    def count(self) -> int:
        """How many there shall be: in the cluster, or for `every-node` on each node."""
        return self.replicas if self.mode == "replicated" else min(self.replicas, 1)


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A machine. `alive`: its lease stands. `cordoned`: it keeps what it runs and is given nothing new.

    `drain`: what it runs is moved away, singletons stopped first, those of every node last; `force` stops what no other
    node takes. `cpu` and `memory` are what it has for instances; 0: as much as they want.
    """

    name: str
    labels: Mapping[str, str] = {}
    alive: bool = True
    cordoned: bool = False
    drain: Drain = ""
    cpu: float = 0.0
    memory: int = 0


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One assignment as it is seen. `since` is when it came to its state, on the clock of the one who decides.

    `round` is the service's round in which it was started.
    """

    service: str
    name: str
    version: str
    node: str
    state: State = "starting"
    since: float = 0.0
    error: str = ""
    round: int = 0


class Rollout(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the platform itself decided about a service's versions; it stands beside what the user declared.

    `stable` is the last version that ran in full, declared by `revision`; `failed` is the one that was given up, for
    the `error` of `instance`, `at` that time (seconds since the epoch; noted by who writes it down); `aborted`: by an
    administrator. `promoted` is the version whose canaries were found good. `round` counts the restarts that were asked
    for: instances of earlier rounds are replaced.
    """

    stable: str = ""
    revision: str = ""
    failed: str = ""
    error: str = ""
    instance: str = ""
    at: float = 0.0
    aborted: bool = False
    promoted: str = ""
    round: int = 0


class Start(msgspec.Struct, frozen=True, order=True):
    """Start an instance of this version on this node; `revision` names the resource that declares it."""

    service: str
    name: str
    version: str
    node: str
    revision: str = ""
    round: int = 0


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
    unplaced: Mapping[str, int] = {}
    """How many instances of a service no node takes."""

    @property
    def none(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.start or self.stop or self.rollouts)


def is_trial(wanted: Wanted, rollout: Rollout) -> bool:
    """Whether the wanted version runs as canaries beside the stable one, and waits for who promotes or aborts it."""
    return bool(wanted.canary and wanted.count and wanted.mode == "replicated" and wanted.surge and rollout.stable
                and wanted.version not in (rollout.stable, rollout.failed, rollout.promoted))


def is_given_up(wanted: Wanted, rollout: Rollout) -> bool:
    """Whether the stable version stays in spite of what is wanted."""
    return bool(rollout.stable and wanted.version == rollout.failed and (wanted.auto_revert or rollout.aborted))
