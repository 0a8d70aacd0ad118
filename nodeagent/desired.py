"""From the configuration to what should run: users' services, and the system's own that they imply. Pure."""

from __future__ import annotations

from arint.availability.model import Wanted
from arint.resources.kinds import Service
from arint.resources.quantities import seconds
from arint.resources.versions import version_of
from nodeagent.configuration import Configuration

RUNNER = "system/runner"
SYSTEM = "system/"


def wanted(configuration: Configuration, release: str) -> list[Wanted]:
    """Every service that the configuration asks for. `release` is the version of the system's services.

    A new release replaces them one node after the other.
    """
    transports = sorted({channel.transport for channel in configuration.channels.values()})
    system = [_system(RUNNER, release, surge=True)]
    # A listener owns its node's port: two of them cannot stand side by side.
    system += [_system(f"{SYSTEM}{transport}", release, surge=False) for transport in transports]
    return system + [_service(service, configuration.revisions.get(f"Service/{service.name}", ""))
                     for service in configuration.services.values()]


def _system(name: str, release: str, *, surge: bool) -> Wanted:
    return Wanted(service=name, base=name.removeprefix(SYSTEM), version=release, mode="every-node", surge=surge)


def _service(service: Service, revision: str) -> Wanted:
    placement, update = service.placement, service.update
    return Wanted(service=service.name, version=version_of(service), revision=revision, replicas=service.replicas,
                  mode=service.mode, labels=placement.labels, spread=placement.spread == "node",
                  max_parallel=update.max_parallel, healthy_after=seconds(update.healthy_after),
                  auto_revert=update.auto_revert)
