"""What is to be done to a machine, as data: decided from its facts, shown, saved, and then carried out. Pure.

The dry run shows the very effects that a run carries out. What is done already is no effect: so a run that broke off
goes on where it was, and one that is finished has nothing left but the proof.
"""

from __future__ import annotations

import hashlib
import posixpath
from typing import Literal

import msgspec

from arint.bootstrap import services
from arint.bootstrap.facts import UNIT, Facts
from arint.bootstrap.inventory import Host
from arint.operations.membership import Asked

Phase = Literal["connect", "facts", "preflight", "plan", "approve", "upload", "install", "certificates", "join",
                "prove"]
PHASES: tuple[Phase, ...] = ("connect", "facts", "preflight", "plan", "approve", "upload", "install", "certificates",
                             "join", "prove")


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """The bundle that is installed: its id, its archive here, and where it runs."""

    id: str
    version: str
    archive: str
    sha256: str
    size: int
    unpacked: int
    system: str
    machine: str
    glibc: str
    etcd: str = ""


class Upload(msgspec.Struct, frozen=True, tag="upload"):
    """Send the archive, unless it lies there whole; one that broke off goes on."""

    archive: str
    sha256: str
    size: int
    to: str


class Account(msgspec.Struct, frozen=True, tag="account"):
    """Make the system user that the node runs as."""

    user: str
    home: str


class Install(msgspec.Struct, frozen=True, tag="install"):
    """Unpack the archive into a folder of its own, beside other releases."""

    archive: str
    sha256: str
    release: str
    prefix: str


class Switch(msgspec.Struct, frozen=True, tag="switch"):
    """Let `current` be this release."""

    release: str
    prefix: str


class Certify(msgspec.Struct, frozen=True, tag="certify"):
    """Have the machine make its keys, and a server sign for them and record the node."""

    asked: Asked


class Join(msgspec.Struct, frozen=True, tag="join"):
    """Write the node's configuration and certificates."""

    asked: Asked
    home: str


class Found(msgspec.Struct, frozen=True, tag="found"):
    """Make the first server of a new cluster, with its CAs."""

    asked: Asked
    home: str


class Serve(msgspec.Struct, frozen=True, tag="serve"):
    """Write what keeps the agent running."""

    manager: Literal["systemd", "supervisor"]
    file: str
    content: str


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Start the agent of this release; one of another release, or with another configuration, ends first."""

    manager: Literal["systemd", "supervisor"]
    release: str
    home: str


class Prove(msgspec.Struct, frozen=True, tag="prove"):
    """Wait until the agent is ready, and pass a message through the bus as this node."""

    node: str
    timeout: float


Effect = Upload | Account | Install | Switch | Certify | Join | Found | Serve | Start | Prove
_PHASE: dict[type[Effect], Phase] = {
    Upload: "upload", Account: "install", Install: "install", Switch: "install", Certify: "certificates", Join: "join",
    Found: "certificates", Serve: "join", Start: "join", Prove: "prove"}


def phase_of(effect: Effect) -> Phase:
    """Under which phase it is shown."""
    return _PHASE[type(effect)]


def told(effect: Effect) -> str:  # noqa: PLR0911 - a line a kind
    """One line for a person."""
    match effect:
        case Upload(archive=archive, size=size, to=to):
            return f"send {posixpath.basename(archive)} ({size // 10**6} MB) to {to}"
        case Account(user=user):
            return f"make the system user {user}"
        case Install(release=release, prefix=prefix):
            return f"unpack it into {prefix}/{release}"
        case Switch(release=release, prefix=prefix):
            return f"let {prefix}/current be {release}"
        case Certify(asked=asked):
            return f"make its keys there; sign for {asked.node} ({asked.host}), and record it"
        case Join(asked=asked, home=home):
            return f"make {home} the node {asked.node} of cluster {asked.cluster}"
        case Found(asked=asked, home=home):
            return f"make {home} the first server, {asked.node}, of a new cluster {asked.cluster}"
        case Serve(manager=manager, file=file):
            return f"write {file} for {manager}"
        case Start(manager=manager, release=release):
            return f"start the agent of {release} by {manager}"
        case Prove(node=node):
            return f"wait until {node} is ready, and pass a message through it"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the plan for one machine is decided from."""

    host: Host
    facts: Facts
    release: Release
    recorded: str = ""
    """The address at which the cluster has recorded a node of this name; empty where there is none."""
    founds: bool = False
    """Whether it is the first server of a new cluster."""
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
        return set(found.roles) == set(host.roles) and found.capacity == host.capacity and (
            self.founds or self.recorded == host.address)

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

    format: int = 1
    release: str
    hosts: tuple[HostPlan, ...]


def plan(target: Target) -> HostPlan:
    """What is left to be done to this machine."""
    facts, release = target.facts, target.kept or target.release.id
    effects: list[Effect] = [*_installation(target, release)]
    joined = target.joined
    if not joined:
        asked = target.asked
        effects += [Found(asked, facts.home)] if target.founds else [Certify(asked), Join(asked, facts.home)]
    served = service(facts)
    if facts.service != hashlib.sha256(served.content.encode()).hexdigest() or (facts.systemd_unit
                                                                               and not facts.enabled):
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
