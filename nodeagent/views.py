"""What the agent follows in etcd: one cached view a kind of record."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any, Self

from arint.availability.model import Rollout
from arint.registry.certificates import Wanted
from arint.registry.records import Alive, Assignment, NodeRecord, Registration
from arint.store.connection import Etcd
from arint.store.keys import Keys
from arint.store.view import View


class Views:
    """Use `async with`; each view has been listed once by then."""

    def __init__(self, etcd: Etcd, keys: Keys) -> None:
        self.head = View(etcd, keys.head, bytes)
        self.nodes = View(etcd, keys.nodes_prefix, NodeRecord)
        self.alive = View(etcd, keys.alive_prefix, Alive)
        self.rollouts = View(etcd, keys.rollouts_prefix, Rollout)
        self.assignments = View(etcd, keys.assignments_prefix(), Assignment)
        self.instances = View(etcd, keys.instances_prefix(), Registration)
        self.certificates = View(etcd, keys.certificates_wanted, Wanted)
        self.people = View(etcd, keys.known_users_prefix, bytes)
        self._open = AsyncExitStack()

    @property
    def all(self) -> tuple[View[Any], ...]:
        """Every view."""
        return (self.head, self.nodes, self.alive, self.rollouts, self.assignments, self.instances, self.people,
                self.certificates)

    @property
    def head_number(self) -> int:
        """The change set in force; 0 before the first."""
        raw = self.head.snapshot.get("")
        return int(raw) if raw else 0

    def local_assignments(self, node: str) -> dict[str, Assignment]:
        """What this node is to run, by instance."""
        return {one.instance: one for one in self.assignments.snapshot.values() if one.node == node}

    def local_instances(self, node: str) -> dict[str, Registration]:
        """What this node is registered to run, by instance."""
        return {one.instance: one for one in self.instances.snapshot.values() if one.node == node}

    async def __aenter__(self) -> Self:
        for view in self.all:
            await self._open.enter_async_context(view)
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._open.aclose()
