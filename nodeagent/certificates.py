"""The certificates of this node in the agent: looked after by a helper process, and the engines told of new ones."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import msgspec

from arint.engines.nats import Nats
from arint.errors import ArintError
from arint.home import Home, NodeConfig, write_private
from arint.registry.certificates import Report, Wanted
from arint.store.connection import Etcd
from arint.store.election import Election
from arint.store.keys import Keys
from nodeagent import helper
from nodeagent.bell import Bell
from nodeagent.engine_room import Keeper
from nodeagent.membership import Membership
from nodeagent.views import Views

log = logging.getLogger(__name__)

CHECK = 3600.0
"""Seconds between looks, at the longest: a clock may be set."""
_AGAIN = 3.0
_SOONEST = 2.0
_RESTART = 30.0


class _State(msgspec.Struct):
    """What was done already, kept in the home: the rounds in which all was renewed, and connections were cut."""

    renewed: int = 0
    cut: int = 0


class Certificates:
    """One an agent."""

    def __init__(self, home: Home, config: NodeConfig, bell: Bell, nats: Nats | None, engines: list[Keeper]) -> None:
        self._home, self._config, self._bell = home, config, bell
        self._nats, self._engines = nats, engines
        self._keys = Keys(config.cluster)
        self._file = home.pki / "state.json"
        self._state = _read_state(self._file)
        self._told = ""
        self._published: Report | None = None
        self._report = Report()
        self._tried: Wanted | None = None
        self._next = 0.0
        self._reloaded = 0.0
        self._views: Views | None = None
        self._etcd: Etcd | None = None
        self._membership: Membership | None = None

    @property
    def error(self) -> str:
        """What is wrong with them, or empty."""
        return self._report.error

    def take_part(self, etcd: Etcd, views: Views, membership: Membership) -> None:
        """From now on heed what the cluster wants; before, only what lies here is looked after."""
        self._etcd, self._views, self._membership = etcd, views, membership
        self._bell.ring()

    def take_no_part(self) -> None:
        """The cluster is away."""
        self._etcd = self._views = self._membership = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            rings = self._bell.rings
            try:
                await self._once()
            except (ArintError, OSError) as error:
                self._fail(f"certificates could not be looked after: {error}")
                self._next = min(self._next, time.time() + _AGAIN)
            longest = CHECK if self._report == self._published else _AGAIN
            await self._bell.wait(rings, max(_SOONEST, min(self._next - time.time(), longest)))

    async def _once(self) -> None:
        wanted = self._wanted()
        if wanted != self._tried or not time.time() < self._next <= time.time() + CHECK:
            await self._bring_about(wanted)
        if self._etcd is not None and self._report != self._published:
            await self._publish(self._etcd)

    async def _publish(self, etcd: Etcd) -> None:
        """Tell the cluster; where it cannot be told, that is no fault of the certificates."""
        try:
            await etcd.put(self._keys.certificates(self._config.node), msgspec.json.encode(self._report))
        except ArintError as error:
            log.info("the certificates could not be reported: %s", error)
        else:
            self._published = self._report

    def _wanted(self) -> Wanted:
        if self._views is None:
            return Wanted()
        return self._views.certificates.snapshot.get("", Wanted())

    async def _bring_about(self, wanted: Wanted) -> None:
        self._tried, self._next = wanted, time.time() + _AGAIN
        anew = wanted.renew.get(self._config.node, 0)
        task = msgspec.json.encode({"wanted": wanted, "anew": anew > self._state.renewed})
        report = msgspec.json.decode(await helper.run("nodeagent.renewing", str(self._home.path), data=task),
                                     type=Report)
        if report.error:
            self._fail(report.error)
            self._report = msgspec.structs.replace(report, round=self._report.round)
            return
        self._remember(renewed=max(anew, self._state.renewed))
        await self._tell_engines(wanted)
        if self._told:
            log.info("certificates are good again")
        self._told = ""
        self._next = min(max(report.due, time.time() + _AGAIN), time.time() + CHECK)
        self._report = msgspec.structs.replace(report, round=wanted.round)

    async def _tell_engines(self, wanted: Wanted) -> None:
        """The broker reads its files again when told; etcd its own at each handshake, yet whom it trusts at a start."""
        if self._nats is None:
            return
        broker, etcd = self._nats.process, self._engines[0]
        changed = await asyncio.to_thread(_newest, self._home, "cluster-ca.pem", "nats-server.pem")
        if broker.running and changed > max(broker.started or 0.0, self._reloaded):
            await self._engines[1].ready.wait()
            self._reloaded = time.time()
            self._nats.reload()
            log.info("the broker reads its certificates again")
        trusted = await asyncio.to_thread(_newest, self._home, "etcd-ca.pem")
        if trusted > (etcd.engine.process.started or trusted) or wanted.cut > self._state.cut:
            await self._restart_etcd(etcd)
            self._remember(cut=max(wanted.cut, self._state.cut))

    async def _restart_etcd(self, etcd: Keeper) -> None:
        """One server at a time, where there are several. Raises ArintError while it cannot be its turn."""
        if self._etcd is None or self._views is None:
            raise ArintError("etcd is to be started anew, once it answers")
        if sum("server" in one.roles for one in self._views.nodes.snapshot.values()) < 2:
            await etcd.restart(_RESTART)
            return
        lease = self._membership.lease if self._membership is not None else None
        if lease is None:
            raise ArintError("etcd is to be started anew, once this node is a member again")
        turn = Election(self._etcd, self._keys.election_prefix("restart-etcd"), lease, self._config.node.encode())
        await turn.campaign()
        try:
            await etcd.restart(_RESTART)
        finally:
            await turn.resign()

    def _remember(self, *, renewed: int | None = None, cut: int | None = None) -> None:
        state = _State(self._state.renewed if renewed is None else renewed, self._state.cut if cut is None else cut)
        if state != self._state:
            write_private(self._file, msgspec.json.encode(state))
            self._state = state

    def _fail(self, error: str) -> None:
        if error != self._told:
            log.warning("%s", error)
        self._told = error
        self._report = msgspec.structs.replace(self._report, error=error)


def _newest(home: Home, *names: str) -> float:
    return max((home.pki / name).stat().st_mtime for name in names)


def _read_state(file: Path) -> _State:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_State)
    except (OSError, msgspec.MsgspecError):
        return _State()
