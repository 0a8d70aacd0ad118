"""What is to be done to a machine, as data: decided from its facts, shown, saved, and then carried out. Pure.

The dry run shows the very effects that a run carries out. What is done already is no effect: so a run that broke off
goes on where it was, and one that is finished has nothing left but the proof.
"""

from __future__ import annotations

import hashlib
import posixpath

import msgspec

from arint.bootstrap import services
from arint.bootstrap.effects import (
    Account,
    Certify,
    Clean,
    Drain,
    Effect,
    Forget,
    Install,
    Join,
    Prove,
    Prune,
    Serve,
    Start,
    Stop,
    Switch,
    Uncordon,
    Uninstall,
    Upload,
)
from arint.bootstrap.facts import UNIT, Facts
from arint.bootstrap.inventory import Host
from arint.operations.membership import Asked


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """The bundle that is installed: its id, its archive here, and where it runs."""

    id: str
    archive: str
    sha256: str
    size: int
    unpacked: int
    system: str
    machine: str
    glibc: str


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the plan for one machine is decided from."""

    host: Host
    facts: Facts
    release: Release
    recorded: str = ""
    """The address at which the cluster has recorded a node of this name; empty where there is none."""
    timeout: float = 60.0

    @property
    def asked(self) -> Asked:
        """What it shall be."""
        host = self.host
        return Asked(cluster=host.cluster, node=host.node, host=host.address, roles=host.roles, labels=host.labels,
                     capacity=host.capacity)

    @property
    def joined(self) -> bool:
        """Whether it is that node already, with everything that was asked for."""
        found, host = self.facts.node, self.host
        if found is None or (found.cluster, found.node, found.host) != (host.cluster, host.node, host.address):
            return False
        return set(found.roles) == set(host.roles) and found.capacity == host.capacity and self.recorded == host.address

    @property
    def kept(self) -> str:
        """The release that a node which is there already runs: another one comes by an upgrade only."""
        facts = self.facts
        return facts.current if self.joined and facts.running and facts.running == facts.current else ""


class HostPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done to one machine, and the facts that it was decided from."""

    node: str
    cluster: str
    host: str
    standing: str
    effects: tuple[Effect, ...]
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[Effect, ...]:
        """Without the proof, which changes nothing."""
        return tuple(effect for effect in self.effects if not isinstance(effect, Prove))


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan for several machines, as `--out` saves it."""

    release: str
    hosts: tuple[HostPlan, ...]


def plan(target: Target) -> HostPlan:
    """What is left to be done to this machine."""
    facts, release = target.facts, target.kept or target.release.id
    effects: list[Effect] = [*_installation(target, release)]
    joined = target.joined
    if not joined:
        asked = target.asked
        effects += [Certify(asked), Join(asked, facts.home)]
    served = service(facts)
    if _differs(facts, served):
        effects.append(served)
    if not joined or facts.running != release or served in effects:
        effects.append(Start(served.manager, release, facts.home))
    effects.append(Prove(target.host.node, target.timeout))
    return HostPlan(node=target.host.node, cluster=target.host.cluster, host=target.host.host,
                    standing=digest(facts), effects=tuple(effects), notes=_notes(target))


def _installation(target: Target, release: str) -> list[Effect]:
    facts, bundle, effects = target.facts, target.release, list[Effect]()
    if facts.root and not facts.account:
        effects.append(Account("arint", facts.home))
    if release not in facts.installed:
        archive = posixpath.join(facts.folder, ".cache/arint-bootstrap", f"{bundle.id}.tar.gz")
        effects.insert(0, Upload(bundle.archive, bundle.sha256, bundle.size, archive))
        effects.append(Install(archive, bundle.sha256, bundle.id, facts.prefix))
    if facts.current != release:
        effects.append(Switch(release, facts.prefix))
    return effects


def upgrade(target: Target, *, drains: bool, force: bool, waiting: float, cordoned: bool = False,
            drained: bool = False) -> HostPlan:
    """What brings this node to the release: installed beside, then switched while nothing runs there.

    `waiting` is how long a drain may take, in seconds. `drains`: whether it is drained, and given instances again.
    What is `cordoned` and not `drained` was cordoned by somebody, and stays so; a drain, also one of a run that broke
    off, ends with the upgrade.
    """
    drains = drains and (drained or not cordoned)
    facts, release, node = target.facts, target.release.id, target.host.node
    effects = _installation(target, release)
    served = service(facts)
    serves = _differs(facts, served)
    if facts.running != release or facts.current != release or serves:
        switch = [effect for effect in effects if isinstance(effect, Switch)]
        effects = [effect for effect in effects if not isinstance(effect, Switch)]
        effects += [Drain(node, waiting, force)] if drains else []
        effects += [*switch, *([served] if serves else []), Start(served.manager, release, facts.home)]
        effects += [Prove(node, target.timeout), *([Uncordon(node)] if drains else [])]
        kept = (release, *([facts.current] if facts.current not in ("", release) else []))
        if set(facts.installed) - set(kept):
            effects.append(Prune(facts.prefix, kept))
    else:
        effects = [*effects, Prove(node, target.timeout), *([Uncordon(node)] if drains and drained else [])]
    return _host_plan(target, effects)


def removal(target: Target, *, lives: bool, force: bool, waiting: float) -> HostPlan:
    """What takes this node out of its cluster and off its machine. `lives`: the cluster has a record of it and it takes
    part.
    """
    facts, node = target.facts, target.host.node
    effects: list[Effect] = []
    if lives:
        effects.append(Drain(node, waiting, force))
    if facts.running or facts.service:
        effects.append(Stop(facts.home))
    if target.recorded:
        effects.append(Forget(node))
    if facts.node is not None:
        effects.append(Clean(facts.home))
    return _host_plan(target, effects)


def reset(target: Target) -> HostPlan:
    """What makes the machine bare again, whatever it was."""
    facts = target.facts
    effects: list[Effect] = []
    if facts.running or facts.service:
        effects.append(Stop(facts.home))
    if facts.node is not None or facts.owner == "arint":
        effects.append(Clean(facts.home))
    if facts.installed or facts.current:
        effects.append(Uninstall(facts.prefix))
    return _host_plan(target, effects)


def _host_plan(target: Target, effects: list[Effect]) -> HostPlan:
    return HostPlan(node=target.host.node, cluster=target.host.cluster, host=target.host.host,
                    standing=digest(target.facts), effects=tuple(effects), notes=())


def _differs(facts: Facts, served: Serve) -> bool:
    """Whether another unit or configuration lies there, or none that starts at boot."""
    wanted = hashlib.sha256(served.content.encode()).hexdigest()
    return facts.service != wanted or (facts.systemd_unit and not facts.enabled)


def service(facts: Facts) -> Serve:
    """What keeps the agent running there."""
    if facts.systemd_unit:
        return Serve("systemd", UNIT, services.unit(facts.prefix, facts.home))
    return Serve("supervisor", posixpath.join(facts.home, "supervisor.conf"),
                 services.supervisor(facts.prefix, facts.home))


def digest(facts: Facts) -> str:
    """A hash of the facts that a plan depends on."""
    return hashlib.sha256(msgspec.json.encode(facts.standing)).hexdigest()[:16]


def _notes(target: Target) -> tuple[str, ...]:
    facts, notes = target.facts, []
    if target.kept and target.kept != target.release.id:
        notes.append(f"it stays on release {target.kept}; arintctl cluster upgrade brings it to {target.release.id}")
    if not facts.systemd_unit:
        notes.append("there is no systemd to use: supervisor keeps the agent running, and after a boot of the machine "
                     "add-node starts it again")
    return tuple(notes)
