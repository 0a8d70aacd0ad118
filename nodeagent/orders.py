"""From the configuration to the orders of one instance: all that it needs for its work, and no secret more. Pure.

Variables stay as they are written, and their values go along: the worker resolves them where it uses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from arint.availability.configuration import Configuration
from arint.availability.desired import ADMIN, RUNNER, SYSTEM
from arint.errors import NotFoundError
from arint.flows.contracts import Contract
from arint.resources.graph import references, secrets_of, taken_from
from arint.resources.kinds import Channel, Connection, Flow, Resource, Service
from arint.runtime.control import BusSettings, Orders
from arint.tracing.settings import TraceSettings


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What the orders of all instances of a node have in common."""

    node: str
    home: str
    bus: BusSettings
    host: str
    port: int
    variables: Mapping[str, str]
    fsync: bool = True
    traces: TraceSettings | None = None


class Task(msgspec.Struct, frozen=True):
    """Which instance of what. `spec` is the user's service as it is assigned, which may be older than the declared."""

    instance: str
    service: str
    spec: Service | None = None


def needed_secrets(task: Task, configuration: Configuration) -> set[str]:
    """The names of the secrets that the instance is given."""
    return set().union(*(secrets_of(resource) for resource in _reads(task, configuration)))


def orders_for(task: Task, configuration: Configuration, around: Surroundings, *, code: str = "",
               packages: str = "", secrets: Mapping[str, bytes] | None = None,
               contracts: Mapping[str, Contract] | None = None) -> Orders:
    """The complete orders. `code` and `packages` are the folders of the service's code and of what it requires;
    `secrets` holds at least what is needed; `contracts` are those that services' workers have told.

    Raises NotFoundError for a secret or a service that is not there.
    """
    known = secrets or {}
    names = needed_secrets(task, configuration)
    missing = sorted(names - known.keys())
    if missing:
        raise NotFoundError(f"the secret {missing[0]} has no value", where=task.instance,
                            remedy="apply the manifest that declares it")
    common = Orders(instance=task.instance, node=around.node, role="runner", bus=around.bus, home=around.home,
                    change_set=configuration.number, host=around.host, fsync=around.fsync, traces=around.traces,
                    secrets={name: known[name] for name in sorted(names)},
                    variables={**configuration.variables, **around.variables})
    if task.service == RUNNER:
        return _for_runner(common, configuration)
    if task.service == ADMIN:
        return msgspec.structs.replace(common, role="admin", variables={})
    if task.service.startswith(SYSTEM):
        return _for_source(common, task.service.removeprefix(SYSTEM), configuration, around.port, contracts or {})
    return _for_service(common, task, configuration, code, packages)


def _for_runner(common: Orders, configuration: Configuration) -> Orders:
    return msgspec.structs.replace(
        common, flows=tuple(configuration.flows.values()), services=tuple(configuration.services.values()),
        connections=tuple(configuration.connections.values()),
        channels=tuple(channel for channel in configuration.channels.values() if channel.queries))


def _for_source(common: Orders, transport: str, configuration: Configuration, port: int,
                contracts: Mapping[str, Contract]) -> Orders:
    channels = tuple(one for one in configuration.channels.values() if one.transport == transport)
    targets = [one.to.partition("/") for one in channels]
    flows = _with_called({name for kind, _, name in targets if kind == "flow"}, configuration)
    services = {name for kind, _, name in targets if kind == "service"} & configuration.services.keys()
    met = services | {key.partition("/")[2] for flow in flows for key in called(flow) if key.startswith("Service/")}
    return msgspec.structs.replace(
        common, role="source", source=transport, port=port, channels=channels, flows=flows,
        contracts={name: contracts[name] for name in sorted(met & contracts.keys())},
        services=tuple(configuration.services[name] for name in sorted(services)),
        connections=(*_taken_from(channels, configuration), *_published(channels, configuration)))


def _published(channels: Iterable[Channel], configuration: Configuration) -> list[Connection]:
    """Connections that channels publish something of: which transport they have, and nothing of how to reach them."""
    names = {channel.to.partition("/")[2] for channel in channels if channel.queries}
    return [msgspec.structs.replace(configuration.connections[name], spec={})
            for name in sorted(names & configuration.connections.keys())]


def _taken_from(channels: Iterable[Channel], configuration: Configuration) -> tuple[Connection, ...]:
    names = set().union(*(taken_from(channel) for channel in channels))
    return tuple(configuration.connections[name] for name in sorted(names & configuration.connections.keys()))


def _for_service(common: Orders, task: Task, configuration: Configuration, code: str,
                 packages: str) -> Orders:
    service = _declared(task, configuration)
    return msgspec.structs.replace(
        common, role="service", service=service, code=code, packages=packages,
        flows=_with_called(callers(service.name, configuration), configuration))


def _declared(task: Task, configuration: Configuration) -> Service:
    service = task.spec or configuration.services.get(task.service)
    if service is None:
        raise NotFoundError(f"service {task.service} is not declared", where=task.instance)
    return service


def _reads(task: Task, configuration: Configuration) -> list[Resource]:
    """The resources whose secrets the instance needs."""
    if task.service == RUNNER:
        return [*configuration.connections.values(), *configuration.flows.values()]
    if task.service == ADMIN:
        return []
    if task.service.startswith(SYSTEM):
        transport = task.service.removeprefix(SYSTEM)
        channels = [one for one in configuration.channels.values() if one.transport == transport]
        return [*channels, *_colocated(channels, configuration), *_taken_from(channels, configuration)]
    return [_declared(task, configuration)]


def _colocated(channels: Iterable[Channel], configuration: Configuration) -> list[Service]:
    """The services that run in the listener of these channels."""
    targets = {one.to for one in channels if one.delivery == "immediate"}
    return [service for service in configuration.services.values()
            if service.colocate and f"service/{service.name}" in targets]


def callers(service: str, configuration: Configuration) -> set[str]:
    """The flows with a stage of this service: those that call it, or call (and so contain) a flow that does."""
    calls = {name: called(flow) for name, flow in configuration.flows.items()}
    found = {name for name, targets in calls.items() if f"Service/{service}" in targets}
    grown = True
    while grown:
        more = {name for name, targets in calls.items() if targets & {f"Flow/{flow}" for flow in found}} - found
        found |= more
        grown = bool(more)
    return found


def called(flow: Flow) -> set[str]:
    """The keys (`Kind/name`) of what a flow calls; what it sends to is not among them."""
    return {found.target for found in references(flow) if found.options is None and not
            found.target.startswith("Secret/")}


def _with_called(names: Iterable[str], configuration: Configuration) -> tuple[Flow, ...]:
    """These flows and, since a called flow becomes part of its caller, all that they call."""
    found: set[str] = set()
    waiting = [name for name in names if name in configuration.flows]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            inner = (target.removeprefix("Flow/") for target in called(configuration.flows[name])
                     if target.startswith("Flow/"))
            waiting += [flow for flow in inner if flow in configuration.flows]
    return tuple(configuration.flows[name] for name in sorted(found))
