"""`${NAME}` in channels, connections, and the config and environment of services: resolved on the node.

The variables are those of the node (`BUILT_IN`) and of all `Variables` resources. `$${NAME}` stands for the text
`${NAME}`. Flows are left alone: their languages use the dollar themselves. Secrets are no variables: they are
`{secret: name}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from arint.errors import NotValidError
from arint.resources.kinds import Channel, Connection, Resource, Service, Variables, key_of
from arint.resources.problems import Path, nearest, path_text

BUILT_IN = frozenset({"ARINT_HOME", "ARINT_DATA", "ARINT_NODE", "ARINT_CLUSTER"})
"""What every node declares itself."""
_VARIABLE = re.compile(r"(\$?)\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_Any = TypeVar("_Any", bound=Resource)


def resolve(value: Any, variables: Mapping[str, str], *, where: str = "", path: Path = ()) -> Any:
    """`value` with every `${NAME}` in its texts (not its keys) replaced.

    What a variable holds is not looked at again. Raises NotValidError that names the place and the nearest variable.
    """
    if isinstance(value, str):
        return _resolve_text(value, variables, where, path) if "${" in value else value
    if isinstance(value, dict):
        return {key: resolve(item, variables, where=where, path=(*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, variables, where=where, path=(*path, index)) for index, item in enumerate(value)]
    return value


def _resolve_text(text: str, variables: Mapping[str, str], where: str, path: Path) -> str:
    def replaced(match: re.Match[str]) -> str:
        escaped, name = match.groups()
        if escaped:
            return match[0][1:]
        if name not in variables:
            place = " ".join(filter(None, (where, path_text(path))))
            raise NotValidError(f"the variable {name} is not declared on this node", where=place or None,
                                remedy=nearest(name, variables) or "no variable is declared")
        return variables[name]

    return _VARIABLE.sub(replaced, text)


def resolve_resource(resource: _Any, variables: Mapping[str, str]) -> _Any:
    """The resource as this node uses it. Raises NotValidError."""
    if isinstance(resource, Channel | Connection):
        spec = resolve(resource.spec, variables, where=key_of(resource), path=(resource.transport,))
        return msgspec.structs.replace(resource, spec=spec)
    if isinstance(resource, Service) and (resource.config or resource.env):
        config = resolve(resource.config, variables, where=key_of(resource), path=("config",))
        env = resolve(resource.env, variables, where=key_of(resource), path=("env",))
        return msgspec.structs.replace(resource, config=config, env=env)
    return resource


def declared_in(resources: Iterable[Resource]) -> dict[str, str]:
    """The values of all `Variables` among the resources; each name is declared once."""
    return {name: value for one in resources if isinstance(one, Variables) for name, value in one.values.items()}


def named_in(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every variable that texts in a value as it is written name, with its place."""
    if isinstance(value, str):
        yield from ((path, match[2]) for match in _VARIABLE.finditer(value) if not match[1])
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from named_in(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from named_in(item, (*path, index))
