"""The configuration in force, as the agent uses it: typed resources, and which revision each is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TypeVar

from arint.resources.canonical import from_canonical
from arint.resources.kinds import Channel, Connection, Flow, Resource, Secret, Service
from arint.resources.variables import declared_in

_Kind = TypeVar("_Kind", bound=Resource)


class Configuration:
    """One change set: its `number`, its `resources` by key (`Kind/name`), and their `revisions`.

    `hasty`: new versions take over as soon as they are ready.
    """

    def __init__(self, number: int = 0, resources: Mapping[str, Resource] | None = None,
                 revisions: Mapping[str, str] | None = None, *, hasty: bool = False) -> None:
        self.number = number
        self.hasty = hasty
        self.resources = dict(resources or {})
        self.revisions = dict(revisions or {})

    def following(self, number: int, revisions: Mapping[str, str], content: Mapping[str, bytes], *,
                  hasty: bool = False) -> Configuration:
        """The configuration after this one; what has not changed is not decoded again.

        Raises NotValidError for a resource that this release cannot read.
        """
        resources = {key: self.resources[key] if self.revisions.get(key) == revision else from_canonical(content[key])
                     for key, revision in revisions.items()}
        return Configuration(number, resources, revisions, hasty=hasty)

    @cached_property
    def services(self) -> dict[str, Service]:
        """By name."""
        return dict(self._named(Service))

    @cached_property
    def flows(self) -> dict[str, Flow]:
        """By name."""
        return dict(self._named(Flow))

    @cached_property
    def channels(self) -> dict[str, Channel]:
        """By name."""
        return dict(self._named(Channel))

    @cached_property
    def connections(self) -> dict[str, Connection]:
        """By name."""
        return dict(self._named(Connection))

    @cached_property
    def secrets(self) -> dict[str, Secret]:
        """By name."""
        return dict(self._named(Secret))

    @cached_property
    def variables(self) -> dict[str, str]:
        """The declared ones."""
        return declared_in(self.resources.values())

    def _named(self, kind: type[_Kind]) -> Iterator[tuple[str, _Kind]]:
        for _, resource in sorted(self.resources.items()):
            if isinstance(resource, kind):
                yield resource.name, resource
