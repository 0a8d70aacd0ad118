"""What placement decides upon, read at one look: for who asks why, or what would be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from arint.availability import observed
from arint.availability.model import Instance, Node, Rollout, Wanted
from arint.errors import NotFoundError
from arint.registry.records import Alive, Assignment, Near, NodeRecord, Registration
from arint.resources.kinds import Service

if TYPE_CHECKING:
    from arint.availability.configuration import Configuration
    from arint.operations.connect import Link
    from arint.store.transactions import KeyValue

_Record = TypeVar("_Record")


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one moment, records by name. `revisions`: when the key of a record was last changed."""

    configuration: Any
    """arint.availability.configuration.Configuration"""
    desired: list[Wanted]
    nodes: dict[str, NodeRecord]
    alive: dict[str, Alive]
    near: dict[str, Near]
    rollouts: dict[str, Rollout]
    assignments: list[Assignment]
    registrations: list[Registration]
    revisions: dict[str, int]

    @property
    def machines(self) -> list[Node]:
        """The nodes as placement sees them."""
        return observed.nodes(self.nodes.values(), self.alive.values())

    @property
    def instances(self) -> list[Instance]:
        """The instances as placement sees them; since when each is in its state is not known to who only looks once."""
        return observed.Watch().instances(self.assignments, self.registrations, 0.0)

    def wanted(self, service: str) -> Wanted:
        """A service, one of the system's own too. Raises NotFoundError."""
        found = next((one for one in self.desired if one.service == service), None)
        if found is None:
            from arint.resources.problems import nearest

            names = [one.service for one in self.desired]
            raise NotFoundError(f"there is no service {service!r}", remedy=nearest(service, names)
                                or "arintctl service list")
        return found

    def node(self, name: str) -> NodeRecord:
        """A node. Raises NotFoundError."""
        if name not in self.nodes:
            from arint.resources.problems import nearest

            raise NotFoundError(f"there is no node {name!r}", remedy=nearest(name, self.nodes) or "arintctl node list")
        return self.nodes[name]


async def look(link: Link) -> Situation:
    """The situation now. Raises UnreachableError."""
    from arint.availability.desired import wanted
    from arint.store.keys import Keys
    from arint.version import VERSION

    etcd, keys = await link.etcd(), Keys(link.config.cluster)
    prefixes = (keys.nodes_prefix, keys.alive_prefix, keys.near_prefix, keys.rollouts_prefix,
                keys.assignments_prefix(), keys.instances_prefix())
    found = await asyncio.gather(*(etcd.range(prefix) for prefix in prefixes))
    nodes, alive, near, rollouts, assigned, running = (kvs for kvs, _ in found)
    configuration = await _configuration(link)
    revisions = {kv.key: kv.mod_revision for kv in (*nodes, *rollouts)}
    return Situation(
        configuration=configuration, desired=wanted(configuration, VERSION), revisions=revisions,
        nodes=_by_name(nodes, keys.nodes_prefix, NodeRecord), alive=_by_name(alive, keys.alive_prefix, Alive),
        near=_by_name(near, keys.near_prefix, Near), rollouts=_by_name(rollouts, keys.rollouts_prefix, Rollout),
        assignments=_all(assigned, Assignment), registrations=_all(running, Registration))


def declared(situation: Situation, service: str) -> Service:
    """A user's service as it is declared. Raises NotFoundError."""
    situation.wanted(service)
    found = situation.configuration.services.get(service)
    if not isinstance(found, Service):
        raise NotFoundError(f"{service} is the system's own", where=service, remedy="only users' services are declared")
    return found


async def _configuration(link: Link) -> Configuration:
    from arint.availability.configuration import Configuration

    sets = await link.change_sets()
    if await sets.head() is None:
        return Configuration()
    found, stored = await sets.load(None)
    return Configuration().following(found.number, found.resources, stored, hasty=found.hasty)


def _by_name(kvs: list[KeyValue], prefix: str, kind: type[_Record]) -> dict[str, _Record]:
    return {kv.key.removeprefix(prefix): msgspec.json.decode(kv.value, type=kind) for kv in kvs}


def _all(kvs: list[KeyValue], kind: type[_Record]) -> list[_Record]:
    return [msgspec.json.decode(kv.value, type=kind) for kv in kvs]


