"""The agent of one machine: engines up in order, membership, workers, placement; and all of it down again."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, NoReturn

import msgspec

from arint.availability.desired import singletons
from arint.engines.etcd import Etcd as EtcdEngine
from arint.engines.logs import keep_logs_small
from arint.engines.nats import Nats
from arint.errors import ArintError, DeniedError
from arint.home import Home, Member
from arint.meters import exposition
from arint.operations.agent import AgentStatus, Contracts, LogPiece, Printed
from arint.registry.records import NodeRecord
from arint.resources.versions import version_of
from arint.runtime.control import BusSettings
from arint.store.connection import Etcd, Tls
from arint.store.election import Election
from arint.store.keys import Keys
from arint.store.lease import Lease
from arint.version import VERSION
from nodeagent import helper, logs, measuring, permitting
from nodeagent.backing_up import Backups
from nodeagent.bell import Bell
from nodeagent.certificates import Certificates
from nodeagent.control_socket import ControlSocket, Follow, Logs, Query, Question
from nodeagent.crew import Crew
from nodeagent.engine_room import Keeper
from nodeagent.membership import Membership, keep_membership
from nodeagent.metrics_page import MetricsPage
from nodeagent.neighbours import Neighbours
from nodeagent.orders import Surroundings
from nodeagent.placing import Placing
from nodeagent.shelf import look_after_code
from nodeagent.source import Source
from nodeagent.status import agent_status, elsewhere, given_up, instance_status, served_by_all, working_nodes
from nodeagent.sweeping import Sweeper
from nodeagent.upkeep import Caretaker
from nodeagent.views import Views

log = logging.getLogger(__name__)

WORKER_COMMAND = (sys.executable, "-m", "arint.runtime")
NATS_INTERVAL = 15.0
"""Seconds between probes of a broker that works: each is a short process (`nodeagent.probing`)."""
_FIRST_ANSWER = 0.5
_TRY_AGAIN = 1.0
_HOLD = 0.5
_MOST_LOG_LINES = 100_000
_LONGEST_LOG_ANSWER = 512 * 1024
_SHUT_OUT = 5.0


class Agent:
    """Runs the node of `home`. `command` is what a worker is started with; --home and --instance are added."""

    def __init__(self, home: Home, command: Sequence[str] = WORKER_COMMAND) -> None:
        self._home = home
        self._config = home.load()
        self._bell = Bell()
        self._etcd = self._connection()
        self._etcd_open = False
        self._nats = Nats(home, self._config) if self._config.is_server else None
        self._engines = [
            Keeper(EtcdEngine(home, self._config), self._ask_etcd, self._bell.ring),
            Keeper(self._nats, self._ask_nats, self._bell.ring, interval=NATS_INTERVAL)
        ] if self._nats is not None else []
        self._crew = Crew(home, self._surroundings(), command, self._bell)
        self._views: Views | None = None
        self._source: Source | None = None
        self._membership: Membership | None = None
        self._placing: Placing | None = None
        self._assigned_at = 0
        self._held_by_lease: list[str] = []
        self._caretaker = Caretaker(home, self._config)
        self._certificates = Certificates(home, self._config, self._bell, self._nats, self._engines)
        self._settled = 0
        self._served = 0
        self._error = ""
        self._backups = Backups(home)
        self._stop = asyncio.Event()
        self._metrics = MetricsPage(self._config.ports.metrics, self._measured)

    async def run(self) -> None:
        """Until SIGTERM or SIGINT; then drain the workers, and stop the engines. Raises what cannot be waited out.

        Whatever else ends the agent leaves workers and engines running, for the next agent to adopt.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        socket = ControlSocket(self._home.socket, self._crew.find, self._crew.users, self._answer)
        async with socket.serving():
            try:
                async with asyncio.TaskGroup() as tasks:
                    for keeper in self._engines:
                        tasks.create_task(keeper.run(), name=f"engine {keeper.engine.name}")
                    tasks.create_task(keep_logs_small(self._home.log), name="logs")
                    tasks.create_task(self._metrics.run(), name="metrics")
                    tasks.create_task(self._certificates.run(), name="certificates")
                    tasks.create_task(self._take_part(), name="cluster")
                    tasks.create_task(self._crew.watch_limits(), name="limits")
                    await self._until_stopped()
            except* _Stopped:
                log.info("stopping: workers first")
            except* BaseException:
                await self._crew.release()
                raise
            await self._crew.stop()
            for keeper in reversed(self._engines):
                await keeper.engine.stop()
        log.info("stopped")

    async def _until_stopped(self) -> NoReturn:
        await self._stop.wait()
        if self._membership is not None:
            self._membership.revoke = True
        raise _Stopped

    def _connection(self) -> Etcd:
        pem = self._home.identity("etcd-agent")
        return Etcd(self._config.etcd_endpoints, Tls(pem.ca, pem.certificate, pem.key))

    async def _ask_etcd(self) -> None:
        """A read that needs a leader and a quorum.

        Before the first answer on a connection of its own: one that was refused waits a second before it tries again.
        """
        key = Keys(self._config.cluster).head
        if self._etcd_open:
            await self._etcd.get(key)
            return
        async with asyncio.timeout(_FIRST_ANSWER), self._connection() as fresh:
            await fresh.get(key)

    async def _ask_nats(self) -> None:
        await helper.run("nodeagent.probing", str(self._home.path))

    def _surroundings(self) -> Surroundings:
        config, home = self._config, self._home
        bus = BusSettings(config.nats_servers, *home.identity("worker"))
        return Surroundings(node=config.node, home=str(home.path), bus=bus, host=config.host, port=config.ports.http,
                            variables=home.variables(config), fsync=config.fsync, traces=config.traces)

    async def _take_part(self) -> None:
        """Be a part of the cluster; who is shut out goes on trying, since they may be let in again."""
        while True:
            try:
                await self._follow_cluster()
            except* DeniedError as denied:
                self._fail(f"the cluster does not let this node in: {_first(denied)}; let it join again: "
                           f"arintctl node request")
            finally:
                self._etcd_open = False
                self._certificates.take_no_part()
            await asyncio.sleep(_SHUT_OUT)

    async def _follow_cluster(self) -> None:
        """From the first answer of etcd on: follow the cluster, be a member of it, run what is assigned."""
        await self._until_etcd_answers()
        config, keys, etcd = self._config, Keys(self._config.cluster), self._etcd
        async with AsyncExitStack() as open_:
            await open_.enter_async_context(etcd)
            self._etcd_open = True
            views = await self._open_views(etcd, keys, open_)
            source = Source(self._home, etcd, config.cluster)
            record = NodeRecord(name=config.node, release=VERSION, host=config.host, roles=config.roles,
                                ports=config.ports, labels=config.labels, capacity=config.capacity)
            membership = Membership(etcd, keys, record, self._home.run / "lease", self._bell)
            placing = Placing(config.node, etcd, keys, views, source, self._bell, VERSION)
            neighbours = Neighbours(self._home, config.node, etcd, keys, views, self._bell)
            self._views, self._source, self._membership, self._placing = views, source, membership, placing
            self._certificates.take_part(etcd, views, membership)

            async def work(lease: Lease) -> None:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_until_lost(lease), name="lease")
                    tasks.create_task(neighbours.measure(lease), name="neighbours")
                    tasks.create_task(self._hold_singletons(lease), name="singletons")
                    tasks.create_task(membership.publish(views, self._crew.registrations,
                                                         self._standing), name="register")
                    tasks.create_task(self._lead_at_times(Election(
                        etcd, keys.election_prefix("placement"), lease, config.node.encode())), name="placement")
                    if config.is_server:
                        tasks.create_task(self._look_after_etcd(Election(
                            etcd, keys.election_prefix("upkeep"), lease, config.node.encode())), name="upkeep")

            async with asyncio.TaskGroup() as tasks:
                for view in views.all:
                    tasks.create_task(self._bell.ring_with(view), name=f"bell {view.prefix}")
                tasks.create_task(keep_membership(membership, work), name="membership")
                tasks.create_task(self._remember_servers(views), name="servers")
                tasks.create_task(neighbours.write_down(), name="directory")
                tasks.create_task(self._keep_crew(views, source, membership), name="crew")
                if self._nats is not None:
                    tasks.create_task(permitting.keep_permissions(self._home, config), name="permissions")
                    tasks.create_task(permitting.keep_letting_in(self._nats, self._engines[1].ready, views, self._bell),
                                      name="bus users")
                tasks.create_task(self._backups.run(), name="backups")
                sweeper, broker = Sweeper(self._home, etcd, config.cluster, views), self._engines[1:]
                tasks.create_task(look_after_code(sweeper, [one.ready for one in broker]), name="code")

    async def _until_etcd_answers(self) -> None:
        """This node's own member; or where none runs here, any of the cluster's."""
        if self._engines:
            await self._engines[0].ready.wait()
            return
        while True:
            try:
                await self._ask_etcd()
            except (ArintError, TimeoutError) as error:
                self._fail(f"etcd does not answer: {error}" if str(error) else "etcd does not answer")
                await asyncio.sleep(_TRY_AGAIN)
            else:
                return

    async def _remember_servers(self, views: Views) -> None:
        """Keep node.json's list of servers as the cluster's records tell it: whom to dial at the next start."""
        since = -1
        while True:
            since = await views.nodes.wait_changed(since)
            members = {one.name: Member(one.host, one.ports) for one in views.nodes.snapshot.values()
                       if "server" in one.roles}
            if members.keys() - {self._config.node} and members != self._config.members:
                self._config = msgspec.structs.replace(self._config, members=members)
                await asyncio.to_thread(self._home.save, self._config)
                log.info("servers of the cluster: %s", ", ".join(sorted(members)))

    async def _open_views(self, etcd: Etcd, keys: Keys, open_: AsyncExitStack) -> Views:
        while True:
            try:
                return await open_.enter_async_context(Views(etcd, keys))
            except ArintError as error:
                self._fail(str(error))
                await asyncio.sleep(_TRY_AGAIN)

    async def _lead_at_times(self, election: Election) -> None:
        """Stand for election, and place for the cluster while elected."""
        assert self._placing is not None
        while True:
            await election.campaign()
            log.info("this node leads: token %d", election.token)
            await _while_elected(election, self._placing.lead(election))

    async def _look_after_etcd(self, election: Election) -> None:
        """Stand for election among the servers, and look after etcd while elected."""
        while True:
            await election.campaign()
            await _while_elected(election, self._caretaker.run())

    async def _hold_singletons(self, lease: Lease) -> None:
        """Tell them of every keepalive that came back, until cancelled."""
        while True:
            if lease.held:
                self._crew.hold(self._held_by_lease, lease.deadline)
            await asyncio.sleep(_HOLD)

    async def _keep_crew(self, views: Views, source: Source, membership: Membership) -> None:
        """Run what is assigned by the configuration in force, again at every change."""
        while True:
            rings = self._bell.rings
            wait: float | None = None
            try:
                wait = await self._bring_in_line(views, source, membership)
            except ArintError as error:
                self._fail(str(error))
                wait = _TRY_AGAIN
            except OSError as error:
                self._fail(f"{error.strerror}: {error.filename or self._home.path}")
                wait = _TRY_AGAIN
            else:
                self._error = ""
            await self._bell.wait(rings, wait)

    async def _bring_in_line(self, views: Views, source: Source, membership: Membership) -> float | None:
        number, version = views.head_number, views.assignments.version
        if number:
            changed = source.configuration.number != number
            await source.load(number)
            if changed:
                self._bell.ring()
        assigned = views.local_assignments(self._config.node)
        alone = singletons(source.configuration)
        held_by_lease = [name for name, one in assigned.items() if one.service in alone]
        if not membership.held:
            await self._crew.drain_singletons(held_by_lease)
            assigned = {name: one for name, one in assigned.items() if name not in held_by_lease}
        await self._crew.reconcile(assigned, source)
        self._held_by_lease = held_by_lease
        if membership.lease is not None:
            self._crew.hold(held_by_lease, membership.lease.deadline)  # before any of them can say Hello
        self._assigned_at = version
        lease = membership.lease
        if not held_by_lease or lease is None:
            return None
        return max(0.05, lease.remaining - 0.5)

    def _fail(self, error: str) -> None:
        if error != self._error:
            log.warning("%s", error)
        self._error = error

    def _status(self) -> AgentStatus:
        workers = [*self._crew.workers.values(), *self._crew.leaving.values()]
        instances = [instance_status(worker, self._config.node) for worker in workers]
        if self._views is not None and self._source is not None:
            configuration = self._source.configuration
            declared = {service.name: version_of(service) for service in configuration.services.values()}
            instances += given_up(self._views, declared, configuration.number, self._config.node)
            there = {(one.service, one.version) for one in instances}
            instances += [msgspec.structs.replace(instance_status(one, self._config.node), state="failed")
                          for service, one in self._crew.failures.items()
                          if declared.get(service) == one.version and (service, one.version) not in there]
        member = self._membership is not None and self._membership.lease is not None
        record = self._views.nodes.snapshot.get(self._config.node) if self._views is not None else None
        engines = [keeper.status() for keeper in self._engines]
        return agent_status(self._config, VERSION, engines, sorted(instances, key=lambda one: one.instance),
                            change_set=self._change_set(), member=member,
                            drained=record is not None and bool(record.drain),
                            error=self._certificates.error or self._error or self._caretaker.trouble or
                            self._backups.error,
                            metrics=self._metrics.url, limits=self._crew.limits)

    def _cluster(self) -> AgentStatus:
        """This node's status, with the instances of all nodes."""
        status, views = self._status(), self._views
        if views is None:
            return status
        instances = sorted([*status.instances, *elsewhere(views, self._config.node)], key=lambda one: one.instance)
        members = {name: name in views.alive.snapshot for name in sorted(views.nodes.snapshot)}
        return msgspec.structs.replace(status, instances=tuple(instances), nodes=working_nodes(views), members=members)

    def _standing(self) -> tuple[int, int]:
        """What other nodes are told: the change set that is served here, and for which all is placed (-1: others tell).
        """
        workers, placing = self._crew.workers.values(), self._placing
        self._served = served_by_all(workers, self._crew.change_set, self._served)
        return max(self._served, 0), placing.settled if placing is not None and placing.leading else -1

    def _change_set(self) -> int:
        """The newest change set by which everything was placed and had its orders.

        Only the leader knows that nothing is left to be placed; elsewhere it is what this node has carried out.
        """
        carried_out, placing, views = self._crew.change_set, self._placing, self._views
        if placing is None or views is None:
            return self._settled
        if placing.leading and self._assigned_at >= placing.settled_at:
            self._settled = max(self._settled, min(placing.settled, carried_out))
        elif not placing.leading and len(views.alive.snapshot) > 1:
            leader = max((one.settled for one in views.alive.snapshot.values()), default=-1)
            self._settled = max(self._settled, min(leader, carried_out))
        return self._settled

    def _measured(self) -> str:
        workers = [*self._crew.workers.values(), *self._crew.leaving.values()]
        return exposition.text([*measuring.of_node(self._status()),
                                *(found for worker in workers for found in measuring.of_worker(worker))])

    async def _answer(self, question: Question) -> AsyncIterator[msgspec.Struct]:
        if isinstance(question, Logs):
            yield await asyncio.to_thread(self._printed, question)
            return
        if isinstance(question, Query) and question.what == "contracts":
            yield Contracts(dict(self._crew.contracts))
            return
        if isinstance(question, Query) and question.what == "cluster":
            yield self._cluster()
            return
        yield self._status()
        while isinstance(question, Follow):
            await asyncio.sleep(1.0)
            yield self._status()

    def _printed(self, question: Logs) -> Printed:
        """What fits into one answer: who is left out, or cut short, is asked for again."""
        found: dict[str, LogPiece] = {}
        room = _LONGEST_LOG_ANSWER
        for name, place in question.places.items():
            file = self._home.log_file(name)
            if file.parent != self._home.log or room <= 0:  # a name with a slash in it
                continue
            begin = place if place is not None else logs.last(file, min(question.lines, _MOST_LOG_LINES))
            lines, behind, is_all = logs.after(file, begin, whole=question.whole)
            room -= behind - begin
            found[name] = LogPiece(tuple(lines), behind, is_all)
        return Printed(found)


class _Stopped(Exception):
    """Somebody asked the agent to stop."""


async def _while_elected(election: Election, duty: Coroutine[Any, Any, Any]) -> None:
    async with asyncio.TaskGroup() as tasks:
        doing = tasks.create_task(duty)
        await election.wait_lost()
        doing.cancel()


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    one: BaseException = group
    while isinstance(one, BaseExceptionGroup):
        one = one.exceptions[0]
    return one


async def _until_lost(lease: Lease) -> None:
    await lease.lost.wait()
    lease.check()
