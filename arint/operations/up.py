"""Start the cluster of this machine, and stop it: idempotent, and done only when a message has passed through."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from arint.errors import ArintError, ConflictError, TimedOutError, UnreachableError, UsageError
from arint.home import Home, NodeConfig
from arint.operations.agent import AgentStatus
from arint.operations.connect import Link
from arint.operations.probe import pass_a_message
from arint.operations.progress import Progress, Step, silent
from arint.ports import Claim, Ports, choose_ports, claims, port_is_free
from arint.tracing.settings import TraceSettings
from arint.version import VERSION

if TYPE_CHECKING:
    from arint.engines.process import Process

_POLL = 0.05
AGENT = "agent"
LEAST_DISK = 256 * 2**20


class UpArguments(msgspec.Struct, frozen=True, kw_only=True):
    """How to start. Names count only when the home is made; `timeout` is in seconds.

    `avoid` are ports of other homes on this machine: they may be free now, and be listened on tomorrow.
    `otlp_endpoint`: where spans go from now on; "" for nowhere, None for as before,
    or `otlp_default` where there is nothing before. `trace_ratio`: of new traces.
    """

    cluster: str = "local"
    node: str = ""
    host: str = "127.0.0.1"
    http_port: int = 0
    metrics_port: int = 0
    otlp_endpoint: str | None = None
    otlp_default: str = ""
    trace_ratio: float | None = None
    fsync: bool = True
    timeout: float = 60.0
    avoid: frozenset[int] = frozenset()


class Address(msgspec.Struct, frozen=True):
    """Where something listens."""

    what: str
    url: str


class UpResult(msgspec.Struct, frozen=True):
    """The running cluster. `took` is in seconds."""

    cluster: str
    node: str
    home: str
    already_running: bool
    took: float
    addresses: tuple[Address, ...]
    moved: tuple[str, ...]
    """What listens on another port than before, since somebody else took that one."""
    status: AgentStatus


class DownArguments(msgspec.Struct, frozen=True, kw_only=True):
    """How to stop. `grace` in seconds is for messages under way; `purge` removes the home."""

    purge: bool = False
    grace: float = 30.0


class DownResult(msgspec.Struct, frozen=True):
    """What was stopped, by name."""

    home: str
    stopped: tuple[str, ...]
    purged: bool = False


async def up(link: Link, arguments: UpArguments, progress: Progress = silent) -> UpResult:
    """Bring the node up and prove it with a message.

    Raises ConflictError (another `up` or `down`, a port asked for that is taken), NotValidError (a home of another
    format), TimedOutError with the agent's last words.
    """
    begun = time.monotonic()
    home = link.home
    with home.locked("arintctl up", wait=arguments.timeout), claims(home.port_claims()) as claim:
        config = prepare(home, arguments, progress)
        agent = _agent_process(home)
        running = agent.adopt()
        moved: tuple[str, ...] = ()
        wanted = wished(config, arguments)
        if running and wanted != config:
            agent.release()
            raise ConflictError(f"the node runs already: {_told_difference(config, wanted)}", where=str(home.path),
                                remedy="arintctl down, then the same again")
        if not running:
            if wanted.traces is None and arguments.otlp_endpoint is None and arguments.otlp_default:
                wanted = wished(wanted, msgspec.structs.replace(arguments, otlp_endpoint=arguments.otlp_default))
            config = _with_wishes(home, config, wanted)
            config, moved = free_ports(home, config, claim)
            link.reload()
            progress(Step("starting the node agent"))
            agent.start()
        try:
            status = await _ready(link, agent, begun + arguments.timeout, progress)
            progress(Step("sending a message through the bus"))
            await pass_a_message(await link.bus())
        finally:
            agent.release()
    progress(Step(f"node {config.node} is ready", done=True))
    return UpResult(config.cluster, config.node, str(home.path), running, time.monotonic() - begun,
                    addresses(config), moved, status)


def prepare(home: Home, arguments: UpArguments, progress: Progress) -> NodeConfig:
    """The home with its configuration and certificates; made where they are missing."""
    from arint.security.ca import ensure_pki, hosts_of
    from arint.security.sealing import Sealer

    home.make_folders()
    if not home.exists:
        progress(Step(f"making the home {home.path}"))
        _check_disk(home)
        home.save(_new_config(arguments))
    config = home.load()
    if config.is_server:
        ensure_pki(home, hosts_of(config))
        Sealer.ensure(home)
    return config


def addresses(config: NodeConfig) -> tuple[Address, ...]:
    """Where the node listens."""
    ports = config.ports
    return (
        Address("http channels", f"http://{config.host}:{ports.http}"),
        *(Address("etcd (mTLS)", f"https://{endpoint}") for endpoint in config.etcd_endpoints),
        *(Address("nats (mTLS)", server) for server in config.nats_servers),
        Address("metrics", f"http://127.0.0.1:{ports.metrics}/metrics"),
        *([Address("traces go to", config.traces.endpoint)] if config.traces is not None else []),
    )


async def down(link: Link, arguments: DownArguments, progress: Progress = silent) -> DownResult:
    """Stop everything that runs from this home: workers first, then the engines; after that what a crash left."""
    home = link.home
    if not home.exists:
        home.load()
    with home.locked("arintctl down", wait=arguments.grace):
        stopped = await stop_all(home, arguments.grace, progress)
    if arguments.purge:
        progress(Step(f"removing {home.path}"))
        shutil.rmtree(home.path)
    return DownResult(str(home.path), tuple(stopped), arguments.purge)


def _new_config(arguments: UpArguments) -> NodeConfig:
    config = wished(NodeConfig(version=VERSION, cluster=arguments.cluster, node=arguments.node or _hostname(),
                               ports=Ports(), host=arguments.host, fsync=arguments.fsync, created=time.time()),
                    arguments)
    asked = _asked_ports(arguments)
    for option, port in asked.items():
        _refuse_taken(arguments.host, port, option)
    avoid = arguments.avoid - {*asked.values()}  # a port that was asked for is wanted, whoever else may use it
    return msgspec.structs.replace(config, ports=choose_ports(arguments.host, config.ports, avoid=avoid))


def wished(config: NodeConfig, arguments: UpArguments) -> NodeConfig:
    """The configuration with what was asked for. Raises UsageError for an endpoint that is none. Pure."""
    ports = msgspec.structs.replace(config.ports, **_asked_ports(arguments))
    traces, endpoint = config.traces, arguments.otlp_endpoint
    if endpoint == "":
        traces = None
    elif endpoint is not None:
        traces = TraceSettings(_checked_endpoint(endpoint), traces.ratio if traces is not None else 1.0)
    if arguments.trace_ratio is not None:
        if traces is None:
            raise UsageError("a ratio without an address for traces", remedy="add --otlp-endpoint http://HOST:4318")
        traces = TraceSettings(traces.endpoint, arguments.trace_ratio)
    return msgspec.structs.replace(config, ports=ports, traces=traces)


def _asked_ports(arguments: UpArguments) -> dict[str, int]:
    wanted = {"http": arguments.http_port, "metrics": arguments.metrics_port}
    return {name: port for name, port in wanted.items() if port}


def _checked_endpoint(endpoint: str) -> str:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(endpoint)
        right = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        right = False
    if not right:
        raise UsageError(f"{endpoint!r} is no http:// or https:// address", where="--otlp-endpoint",
                         remedy="such as http://127.0.0.1:4318, the base address of an OTLP/HTTP collector")
    if "@" in parts.netloc:
        raise UsageError("the address holds a user or password", where="--otlp-endpoint",
                         remedy="send to a collector on this machine, and let that one show its credentials")
    return endpoint


def _refuse_taken(host: str, port: int, name: str) -> None:
    if not port_is_free(host, port):
        raise ConflictError(f"port {port} is taken", where=host,
                            remedy=f"name another with --{name}-port, or none to take a free one")


def _with_wishes(home: Home, config: NodeConfig, wanted: NodeConfig) -> NodeConfig:
    """What was asked for, from now on. Raises ConflictError where a port is taken."""
    for name in ("http", "metrics"):
        port = getattr(wanted.ports, name)
        if port != getattr(config.ports, name):
            _refuse_taken(config.host, port, name)
    if wanted != config:
        home.save(wanted)
    return wanted


def _told_difference(config: NodeConfig, wanted: NodeConfig) -> str:
    if config.ports.http != wanted.ports.http:
        return f"HTTP channels listen on port {config.ports.http} already"
    if config.ports.metrics != wanted.ports.metrics:
        return f"metrics are served on port {config.ports.metrics} already"
    if config.traces is None:
        return "traces go nowhere"
    return f"traces go to {config.traces.endpoint}, {config.traces.ratio:g} of the new ones"


def _check_disk(home: Home) -> None:
    """etcd takes 64 MiB for its log before it says a word; without them it would only end, again and again."""
    from arint.engines.machine import disk_free

    free = disk_free(home.path)
    if free < LEAST_DISK:
        raise ArintError(f"there is too little space on the disk: {free // 2**20} MiB free of the "
                         f"{LEAST_DISK // 2**20} MiB that a new node needs", where=str(home.path),
                         remedy="make room, or name a home on another disk with --home")


def _hostname() -> str:
    """This machine's name as a DNS label."""
    label = "".join(letter if letter.isascii() and letter.isalnum() else "-"
                    for letter in socket.gethostname().split(".")[0].lower()).strip("-")
    return label[:63] or "node"


def free_ports(home: Home, config: NodeConfig, claim: Claim) -> tuple[NodeConfig, tuple[str, ...]]:
    """The configuration with ports on which nobody else listens or is about to, and what had to move.

    Engines of ours that outlived their agent hold their ports rightly: the new agent adopts them.
    """
    if _alive(home):
        return config, ()
    ports = choose_ports(config.host, config.ports, claim=claim)
    before, after = msgspec.structs.asdict(config.ports), msgspec.structs.asdict(ports)
    moved = tuple(f"{name} from port {before[name]} to {after[name]}" for name in before if before[name] != after[name])
    if moved:
        config = msgspec.structs.replace(config, ports=ports)
        home.save(config)
    return config, moved


def _agent_process(home: Home) -> Process:
    from arint.engines.process import Process

    return Process(home, AGENT, (sys.executable, "-m", "nodeagent", "--home", str(home.path)),
                   env={"MALLOC_ARENA_MAX": "2"})  # each of its threads would keep memory of its own


async def _ready(link: Link, agent: Process, deadline: float, progress: Progress) -> AgentStatus:
    """Wait until the agent says that its engines and the runner are ready."""
    said = ""
    while time.monotonic() < deadline:
        if not agent.running:
            raise ArintError(f"the node agent ended\n{_last_words(agent)}", where=str(link.home.path),
                             remedy=f"its log: {agent.log_file}")
        try:
            status = await link.agent.status(within=2.0)
        except (UnreachableError, TimedOutError):
            await asyncio.sleep(_POLL)
            continue
        if status.ready:
            return status
        waiting = _waiting_for(status)
        if waiting != said:
            progress(Step(said := waiting))
        await asyncio.sleep(_POLL)
    raise TimedOutError(f"the node is not ready: {said or 'the agent does not answer'}\n{_last_words(agent)}",
                        where=str(link.home.path), remedy=f"the agent's log: {agent.log_file}")


def _waiting_for(status: AgentStatus) -> str:
    """What is not ready yet, in one line."""
    missing = [engine.name for engine in status.engines if not engine.ready]
    missing += [instance.instance for instance in status.instances if instance.state != "ready"]
    return f"waiting for {', '.join(missing)}" if missing else status.error or "waiting for the agent"


def _last_words(agent: Process) -> str:
    return "\n".join(agent.log_tail().splitlines()[-15:])


def _alive(home: Home) -> list[str]:
    """The names of all recorded processes of this home that still run."""
    from arint.engines.process import Record

    names = []
    for file in sorted(home.run.glob("*.json")):
        try:
            record = msgspec.json.decode(file.read_bytes(), type=Record)
        except (OSError, msgspec.MsgspecError):
            continue
        if record.alive:
            names.append(file.stem)
    return names


async def stop_all(home: Home, grace: float, progress: Progress) -> list[str]:
    """The agent (which stops its own), then what is left: workers, nats, etcd, in this order."""
    from arint.engines.process import Process

    before = _alive(home)
    for name in _stopping_order(before):
        process = Process(home, name, ())
        if process.adopt():
            progress(Step(f"stopping {name}"))
            await process.stop(grace)
    left = _alive(home)
    if left:
        raise ArintError(f"still running: {', '.join(left)}", where=str(home.run), remedy="run it again")
    return before


def _stopping_order(names: list[str]) -> list[str]:
    """Helpers of a demo first, then the agent, leftover workers, and last the engines."""
    last = {"partner": -2, AGENT: -1, "nats": 1, "etcd": 2}
    return sorted(names, key=lambda name: (last.get(name, 0), name))
