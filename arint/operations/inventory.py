"""Reading resources: `{kind, name, spec, status}`, the same for a list, for one, and for a program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from arint.administration.registry import administrative
from arint.errors import NotFoundError, TimedOutError, UnreachableError, UsageError
from arint.operations.addresses import url_of
from arint.operations.agent import AgentStatus, InstanceStatus
from arint.operations.history import applied
from arint.resources.kinds import KINDS, Channel, Connection, Resource, Secret, Service, kind_of
from arint.resources.versions import version_of

if TYPE_CHECKING:
    from arint.home import NodeConfig
    from arint.operations.connect import Link


class ResourceView(msgspec.Struct, frozen=True):
    """A resource as it is shown: what was declared, and how it stands."""

    kind: str
    name: str
    spec: dict[str, Any]
    status: dict[str, Any]


class Description(msgspec.Struct, frozen=True):
    """Everything about one resource. `uses` and `used_by` are keys, `Kind/name`."""

    resource: ResourceView
    manifest: str
    change_set: int
    uses: tuple[str, ...]
    used_by: tuple[str, ...]
    instances: tuple[InstanceStatus, ...]


def selector(word: str) -> tuple[str, str]:
    """A kind and a name (empty: all) from `services`, `service/price` or `Service/price`; ("", "") for `all`.

    Raises UsageError.
    """
    kind, _, name = word.partition("/")
    if kind.lower() == "all":
        return "", name
    by_word = {form: known for known in KINDS for form in (known.lower(), f"{known.lower()}s")}
    if kind.lower() not in by_word:
        from arint.resources.problems import nearest

        raise UsageError(f"there is no kind {kind!r}", remedy=nearest(kind, [known.lower() for known in KINDS]))
    return by_word[kind.lower()], name


def selectors(words: Sequence[str]) -> list[tuple[str, str]]:
    """What several words select: `service/price`, `services flows`, `services,flows`, or `service price approve`.

    A word that is no kind is a name of the kind before it. Raises UsageError.
    """
    found: list[tuple[str, str]] = []
    kind, is_named = "", True
    for word in filter(None, ",".join(words).split(",")):
        if kind and "/" not in word and not _is_kind(word):
            if not is_named:
                found.pop()
            found.append((kind, word))
            is_named = True
            continue
        kind, name = selector(word)
        found.append((kind, name))
        is_named = bool(name)
    return found


def keys_of(words: Sequence[str]) -> list[str]:
    """The keys (`Kind/name`) of single resources. Raises UsageError where a word names a kind alone."""
    found = selectors(words)
    if not found or not all(kind and name for kind, name in found):
        raise UsageError(f"{' '.join(words)!r} names no single resource", remedy="such as service/price")
    return [f"{kind}/{name}" for kind, name in found]


def spoken(key: str) -> str:
    """A key as people type it: `service/price`."""
    kind, _, name = key.partition("/")
    return f"{kind.lower()}/{name}"


def _is_kind(word: str) -> bool:
    return word.lower() == "all" or word.lower().removesuffix("s") in {known.lower() for known in KINDS}


@administrative("viewer")
async def get(link: Link, words: tuple[str, ...]) -> list[ResourceView]:
    """The resources that the words select (none: all), in the order of kinds, then of names.

    Raises NotFoundError where a name is not there.
    """
    wanted = selectors(words or ("all",))
    _, resources = await applied(link)
    chosen = _chosen(wanted, resources)
    status = await _agent_status(link)
    return [view(resources[key], link.config, status) for key in chosen]


def _chosen(wanted: Iterable[tuple[str, str]], resources: Mapping[str, Resource]) -> list[str]:
    """The keys that are selected. Raises NotFoundError for a name that is not there."""
    chosen: set[str] = set()
    for kind, name in wanted:
        found = {key for key, one in resources.items()
                 if (not kind or kind_of(one) == kind) and (not name or one.name == name)}
        if name and not found:
            raise _not_found(kind, name, resources)
        chosen |= found
    return sorted(chosen, key=_order)


@administrative("viewer")
async def describe(link: Link, key: str) -> Description:
    """Everything about one resource (`service/price`). Raises NotFoundError."""
    from arint.resources.canonical import to_yaml
    from arint.resources.graph import references, users

    (key,) = keys_of([key])
    kind, _, name = key.partition("/")
    number, resources = await applied(link)
    if key not in resources:
        raise _not_found(kind, name, resources)
    status = await _agent_status(link)
    resource = resources[key]
    uses = dict.fromkeys(reference.target for reference in references(resource))
    mine = _instances(status, name) if isinstance(resource, Service) else ()
    shown = view(resource, link.config, status)
    if isinstance(resource, Secret):
        from arint.operations.secrets import describe_secret

        told = msgspec.to_builtins(await describe_secret(link, name))
        shown = msgspec.structs.replace(shown, status={key: told[key] for key in ("set", "by", "key", "kept")})
    return Description(resource=shown, manifest=to_yaml([resource]), change_set=number,
                       uses=tuple(uses), used_by=tuple(users(resources.values(), key)), instances=tuple(mine))


@administrative("viewer")
async def export(link: Link, words: tuple[str, ...] = (), *, number: int | None = None) -> str:
    """The resources (of head, or of a change set) as one manifest; applying it changes nothing."""
    from arint.resources.canonical import to_yaml

    wanted = selectors(words or ("all",))
    _, resources = await applied(link, number)
    return to_yaml([resources[key] for key in _chosen(wanted, resources)])


def view(resource: Resource, config: NodeConfig, status: AgentStatus | None) -> ResourceView:
    """A resource beside its state. Pure."""
    from arint.resources.canonical import plain

    written = plain(resource)
    kind, name = written.pop("kind"), written.pop("name")
    return ResourceView(kind, name, written, _status(resource, config, status))


def _status(resource: Resource, config: NodeConfig, status: AgentStatus | None) -> dict[str, Any]:
    if isinstance(resource, Channel):
        return _channel_status(resource, config, status)
    if isinstance(resource, Service):
        return _service_status(resource, status)
    if isinstance(resource, Connection) and status is not None:
        since = [item.circuits[resource.name] for item in status.instances if resource.name in item.circuits]
        return {"available": not since, **({"away_since": min(since)} if since else {})}
    return {}


def _channel_status(channel: Channel, config: NodeConfig, status: AgentStatus | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if channel.transport == "http":
        found["url"] = url_of(channel, config)
    if status is not None:
        sources = _instances(status, f"system/{channel.transport}")
        found["ready"] = any(item.state == "ready" for item in sources)
    return found


def _service_status(service: Service, status: AgentStatus | None) -> dict[str, Any]:
    nodes = status.nodes if status is not None else 1
    desired = service.replicas if service.mode == "replicated" else nodes if service.mode == "every-node" else 1
    found: dict[str, Any] = {"desired": desired,
                             "version": service.code[:12]}
    if status is not None:
        mine = _instances(status, service.name)
        found["ready"] = sum(item.state == "ready" for item in mine)
        found["processed"] = sum(item.processed for item in mine)
        found["failed"] = sum(item.failed for item in mine)
        errors = _errors(mine, version_of(service))
        if errors:
            found["error"] = errors[0]
    return found


def _errors(instances: Iterable[InstanceStatus], version: str) -> list[str]:
    """What is wrong with the declared version; else with one that serves in its place.

    What only leaves, of a version that was given up before, has an error that nobody asks for any more. Pure.
    """
    declared = [item.error for item in instances if item.error and item.version == version]
    return declared or [item.error for item in instances if item.error and item.state not in ("failed", "draining")]


def _instances(status: AgentStatus | None, service: str) -> list[InstanceStatus]:
    return [item for item in status.instances if item.service == service] if status else []


async def _agent_status(link: Link) -> AgentStatus | None:
    """How things stand; None where no agent answers: what is declared can be read all the same."""
    try:
        return await link.agent.cluster(within=1.0)
    except (UnreachableError, TimedOutError):
        return None


def _order(key: str) -> tuple[int, str]:
    kind, _, name = key.partition("/")
    return list(KINDS).index(kind), name


def _not_found(kind: str, name: str, resources: Mapping[str, Resource]) -> NotFoundError:
    from arint.resources.problems import nearest

    names = [one.name for one in resources.values() if not kind or kind_of(one) == kind]
    return NotFoundError(f"there is no {kind.lower() or 'resource'} {name!r}",
                         remedy=nearest(name, names) or "none is applied")
