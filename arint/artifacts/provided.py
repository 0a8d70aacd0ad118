"""What ARINT itself has installed: its own distribution and its plugins', with all that they require.

These go ahead of whatever a service requires, on every node. A service's requirements are resolved beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, entry_points

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_ROOT = "arint"


@cache
def provided() -> dict[str, Distribution]:
    """The distributions by canonical name."""
    found: dict[str, Distribution] = {}
    waiting = [_ROOT, *(name for name in _plugins())]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found or (there := installed(name)) is None:
            continue
        found[name] = there
        waiting += [one.name for one in map(Requirement, there.requires or ())
                    if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def installed(name: str) -> Distribution | None:
    """What goes by this name in this environment, whoever needs it."""
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _plugins() -> Iterator[str]:
    for entry in entry_points(group="arint.plugins"):
        if entry.dist is not None:
            yield entry.dist.name
