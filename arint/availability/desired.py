"""From the configuration to what should run: users' services, and the system's own that they imply. Pure."""

from __future__ import annotations

import msgspec

from arint.availability.configuration import Configuration
from arint.availability.model import Mode, Wanted
from arint.plugins import transports
from arint.resources.kinds import Service
from arint.resources.quantities import octets, seconds
from arint.resources.versions import version_of

RUNNER = "system/runner"
ADMIN = "system/admin"
SYSTEM = "system/"


def wanted(configuration: Configuration, release: str) -> list[Wanted]:
    """Every service that the configuration asks for. `release` is the version of the system's services.

    A new release replaces them one node after the other.
    """
    sources = sorted({channel.transport for channel in configuration.channels.values()})
    system = [_system(RUNNER, release, surge=True), _system(ADMIN, release, surge=True)]
    # A listener owns its node's port: two of them cannot stand side by side; nor two that poll.
    system += [_system(f"{SYSTEM}{name}", release, mode=mode_of(name), surge=False) for name in sources]
    return system + [_service(service, configuration.revisions.get(f"Service/{service.name}", ""),
                              hasty=configuration.hasty)
                     for service in configuration.services.values()]


def mode_of(transport: str) -> Mode:
    """Where a transport's source runs; on every node, where no plugin of this node knows it, and fails there."""
    known = transports().get(transport)
    return known.mode if known is not None else "every-node"


def singletons(configuration: Configuration) -> set[str]:
    """The services, the system's own among them, of which one instance at a time may run in the cluster."""
    declared = {service.name for service in configuration.services.values() if service.mode == "singleton"}
    return declared | {f"{SYSTEM}{channel.transport}" for channel in configuration.channels.values()
                       if mode_of(channel.transport) == "singleton"}


def _system(name: str, release: str, *, mode: Mode = "every-node", surge: bool) -> Wanted:
    return Wanted(service=name, base=name.removeprefix(SYSTEM), version=release, mode=mode, surge=surge)


def _service(service: Service, revision: str, *, hasty: bool) -> Wanted:
    placement, update = service.placement, service.update
    wanted = Wanted(service=service.name, version=version_of(service), revision=revision, replicas=service.replicas,
                    mode=service.mode, labels=placement.labels, spread=placement.spread,
                    apart=tuple(placement.anti_affinity), cpu=service.resources.cpu or 0.0,
                    memory=octets(service.resources.memory) if service.resources.memory else 0,
                    max_parallel=update.max_parallel, healthy_after=seconds(update.healthy_after),
                    auto_revert=update.auto_revert, canary=update.canary)
    if hasty:
        return msgspec.structs.replace(wanted, healthy_after=0.0, max_parallel=max(1, service.replicas), canary=0)
    return wanted
