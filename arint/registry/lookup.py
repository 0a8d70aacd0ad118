"""Looking up live instances by what they serve. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from arint.registry.records import Registration


def serving(registrations: Iterable[Registration], service: str, *, near: str = "") -> list[Registration]:
    """The ready instances of a service: those on the node `near` first, then by name."""
    ready = [one for one in registrations if one.service == service and one.state == "ready"]
    return sorted(ready, key=lambda one: (one.node != near, one.node, len(one.instance), one.instance))
