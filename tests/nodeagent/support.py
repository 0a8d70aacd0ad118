"""A node for tests: a home of its own, the real agent, real engines, and workers that are fake unless asked for."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from arint.engines.process import Record
from arint.errors import ArintError, NotFoundError
from arint.home import Home, NodeConfig
from arint.operations.agent import AgentStatus, InstanceStatus, LocalAgent
from arint.ports import Ports, free_port
from arint.resources.canonical import canonical, from_canonical
from arint.resources.kinds import Resource, key_of
from arint.runtime.control import Orders
from arint.security.ca import ensure_pki
from arint.security.sealing import Sealer
from arint.store.changesets import ChangeSet, ChangeSets
from arint.store.connection import Etcd, Tls
from arint.store.secrets import SealedSecrets
from arint.version import VERSION

ROOT = Path(__file__).parents[2]
FAKE = f"{sys.executable} {Path(__file__).with_name('fake_worker.py')}"
WITHIN = 30.0


def make_home(path: Path) -> Home:
    home = Home(path)
    home.make_folders()
    taken: set[int] = set()
    for _ in range(5):
        taken.add(free_port(avoid=taken))
    client, peer, nats, http, metrics = taken
    home.save(NodeConfig(version=VERSION, cluster="test", node="n1", created=time.time(), fsync=False,
                         ports=Ports(etcd_client=client, etcd_peer=peer, nats=nats, http=http, metrics=metrics)))
    ensure_pki(home)
    Sealer.ensure(home)
    return home


class Node:
    def __init__(self, home: Home, worker: str = FAKE) -> None:
        self.home = home
        self.worker = worker
        self.agent: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.home.log_file("agent").open("ab") as log:
            self.agent = subprocess.Popen(
                [sys.executable, "-m", "nodeagent", "--home", str(self.home.path), "--worker", self.worker],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
                start_new_session=True)

    def kill_agent(self) -> None:
        assert self.agent is not None
        self.agent.kill()
        self.agent.wait()

    async def stop(self) -> int:
        assert self.agent is not None
        self.agent.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.agent.wait, 40)

    def close(self) -> None:
        """Leave nothing behind, whatever a test did."""
        if self.agent is not None and self.agent.poll() is None:
            self.kill_agent()
        for pid in self.pids().values():
            os.kill(pid, signal.SIGCONT)
            os.killpg(pid, signal.SIGKILL)

    def pids(self) -> dict[str, int]:
        """Every recorded process that lives."""
        found = {}
        for file in self.home.run.glob("*.json"):
            try:
                record = msgspec.json.decode(file.read_bytes(), type=Record)
            except FileNotFoundError:  # it ended just now
                continue
            if record.alive:
                found[file.stem] = record.pid
        return found

    async def status(self) -> AgentStatus:
        return await LocalAgent(self.home).status()

    async def until(self, true: Callable[[AgentStatus], object], within: float = WITHIN) -> AgentStatus:
        """Wait until it is true of the status."""
        deadline = time.monotonic() + within
        last: object = "no answer"
        while time.monotonic() < deadline:
            try:
                last = status = await self.status()
            except ArintError as error:
                last = error
            else:
                if true(status):
                    return status
            await asyncio.sleep(0.05)
        raise AssertionError(f"not within {within} s: {last}\n{self.home.log_file('agent').read_text()[-4000:]}")

    async def until_ready(self) -> AgentStatus:
        return await self.until(lambda status: status.ready)

    async def until_applied(self, number: int) -> AgentStatus:
        return await self.until(lambda status: status.change_set >= number and status.instances and all(
            one.state == "ready" and one.change_set >= number for one in status.instances))

    @asynccontextmanager
    async def etcd(self) -> AsyncIterator[Etcd]:
        pem = self.home.identity("etcd-admin")
        endpoint = f"127.0.0.1:{self.home.load().ports.etcd_client}"
        async with Etcd([endpoint], Tls(pem.ca, pem.certificate, pem.key)) as etcd:
            yield etcd

    async def commit(self, *resources: Resource) -> ChangeSet:
        """Put exactly these resources in force."""
        async with self.etcd() as etcd:
            sets = ChangeSets(etcd, "test")
            return await sets.commit({key_of(one): canonical(from_canonical(canonical(one))) for one in resources},
                                     expected_head=await sets.head_number(), author="test", message="")

    async def set_secret(self, name: str, value: bytes) -> str:
        """Seal and store it; its digest."""
        sealer = Sealer.load(self.home)
        digest = sealer.keyed_digest(value)
        async with self.etcd() as etcd:
            await SealedSecrets(etcd, "test").put(name, digest, sealer.seal(name, value))
        return digest

    def code(self, digest: str = "c0de" * 16) -> str:
        """A folder that stands for shipped code."""
        self.home.artifact(digest).mkdir(exist_ok=True)
        return digest

    def orders(self, instance: str) -> Orders:
        """What the fake worker was given last."""
        file = self.home.data / f"{instance}.orders"
        if not file.exists():
            raise NotFoundError("no orders yet", where=instance)
        return msgspec.json.decode(file.read_bytes(), type=Orders)


def named(status: AgentStatus, instance: str) -> InstanceStatus:
    return next(one for one in status.instances if one.instance == instance)


def of_service(status: AgentStatus, service: str) -> list[InstanceStatus]:
    return [one for one in status.instances if one.service == service]
