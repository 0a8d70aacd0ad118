"""Real servers for tests: on ports of their own, killed, paused and restarted on the same port and data."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from arint.engines.etcd import etcd_argv
from arint.engines.find import find_etcd, find_nats
from arint.engines.nats import Known, ask_jetstream, nats_config
from arint.home import Home, NodeConfig, Pem
from arint.ports import Ports, free_port

READY_TIMEOUT = 20.0


class Server:
    """A server program; `start` it, and `close` it in the end. Output goes to `log`."""

    def __init__(self, argv: list[str], log: Path, env: dict[str, str] | None = None) -> None:
        # Should the test run itself be killed, its servers go too.
        leash = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        self.argv = [*leash, *argv]
        self.log = log
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    async def ask(self) -> None:
        """Raise unless it works."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, wait: bool = True) -> None:
        """Start it; `wait` blocks until it answers (in a test whose loop must go on: wait=False, `wait_ready`)."""
        assert self._process is None
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                             env=self._env)
        if wait:
            _run_aside(self.wait_ready)

    async def wait_ready(self, timeout: float = READY_TIMEOUT) -> None:
        """Wait until it answers."""
        last: BaseException | None = None
        try:
            async with asyncio.timeout(timeout):
                while True:
                    if self._process is not None and self._process.poll() is not None:
                        raise AssertionError(f"the server ended: {self.log.read_text()[-2000:]}")
                    try:
                        await self.ask()
                    except (OSError, ValueError, EOFError) as error:
                        last = error
                        await asyncio.sleep(0.02)
                    else:
                        return
        except TimeoutError:
            raise AssertionError(f"not ready ({last!r}): {self.log.read_text()[-2000:]}") from None

    def kill(self) -> None:
        """kill -9."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM, and wait for its end."""
        self._signal(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: from when this returns it is silent, its connections open."""
        os.kill(self.pid, signal.SIGSTOP)
        deadline = time.monotonic() + 10.0
        while any(state != "T" for state in _states(self.pid)):  # threads on other processors run on for a moment
            assert time.monotonic() < deadline, "it was not stopped"
            time.sleep(0.001)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self, *, wait: bool = True) -> None:
        """kill -9 and start again, on the same port and data."""
        self.kill()
        self.start(wait=wait)

    def close(self) -> None:
        """Leave nothing behind."""
        if self._process is not None:
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(timeout=30)
        self._process = None


class EtcdServer(Server):
    """One member; `endpoint` is host:port, `pem(name)` an identity where it speaks TLS."""

    def __init__(self, folder: Path, *, name: str = "n1", tls: bool = False, pki: Path | None = None,
                 members: dict[str, str] | None = None, config: NodeConfig | None = None,
                 extra: tuple[str, ...] = ()) -> None:
        self.home = prepared_home(folder, pki)
        self.tls = tls
        self.config = config or node_config(name)
        argv = [*etcd_argv(find_etcd(), self.home, self.config, members=members), "--snapshot-count=10000", *extra]
        super().__init__(argv if tls else _without_tls(argv), self.home.log_file("etcd"), {"GOMAXPROCS": "1"})

    @property
    def port(self) -> int:
        return self.config.ports.etcd_client

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def pem(self, name: str = "etcd-admin") -> Pem | None:
        return self.home.identity(name) if self.tls else None

    async def ask(self) -> None:
        from arint.engines.etcd import ask_health

        await ask_health("127.0.0.1", self.port, self.pem("etcd-agent"))


class NatsServer(Server):
    """One broker with JetStream; `server` is its URL, `pem(name)` an identity where it speaks TLS."""

    def __init__(self, folder: Path, *, tls: bool = False, pki: Path | None = None, fsync: bool = True,
                 max_file_store: int = 4 * 1024**3, options: dict[str, Any] | None = None,
                 people: tuple[str, ...] = ()) -> None:
        self.home = prepared_home(folder, pki)
        self.tls = tls
        self.config = node_config("n1", fsync=fsync)
        settings = nats_config(self.home, self.config, max_file_store=max_file_store, known=Known(users=people))
        if not tls:
            del settings["tls"], settings["authorization"]
        settings.update(options or {})
        self.configure(settings)
        super().__init__([find_nats().path, "-c", str(self.home.nats / "nats.conf")], self.home.log_file("nats"))

    def configure(self, settings: dict[str, Any]) -> None:
        """What it reads at its next start."""
        (self.home.nats / "nats.conf").write_text(json.dumps(settings, ensure_ascii=False))

    @property
    def port(self) -> int:
        return self.config.ports.nats

    @property
    def server(self) -> str:
        return f"{'tls' if self.tls else 'nats'}://127.0.0.1:{self.port}"

    def pem(self, name: str = "worker") -> Pem | None:
        return self.home.identity(name) if self.tls else None

    async def ask(self) -> None:
        async with asyncio.timeout(1.0):  # one of several does not answer until they have a leader
            await ask_jetstream("127.0.0.1", self.port, self.pem("agent"))

    def reload(self, settings: dict[str, Any]) -> None:
        """Have it read these settings, and return when it has."""
        before = self.log.read_text().count("Reloaded server configuration")
        self.configure(settings)
        os.kill(self.pid, signal.SIGHUP)
        deadline = time.monotonic() + READY_TIMEOUT
        while self.log.read_text().count("Reloaded server configuration") == before:
            assert time.monotonic() < deadline, self.log.read_text()[-2000:]
            time.sleep(0.02)

    def lame_duck(self) -> None:
        """SIGUSR2; it ends once its clients have gone."""
        os.kill(self.pid, signal.SIGUSR2)


def etcd_members(folder: Path, count: int = 3) -> list[EtcdServer]:
    """A cluster of members without TLS, not yet started; start all with wait=False, then wait for each."""
    configs = {f"n{i}": node_config(f"n{i}") for i in range(1, count + 1)}
    urls = {name: f"http://127.0.0.1:{config.ports.etcd_peer}" for name, config in configs.items()}
    return [EtcdServer(folder / name, config=config, members=urls) for name, config in configs.items()]


def prepared_home(folder: Path, pki: Path | None) -> Home:
    """A home with its folders, and the certificates of `pki`."""
    home = Home(folder)
    home.make_folders()
    if pki is not None:
        shutil.copytree(pki, home.pki, dirs_exist_ok=True)
    return home


def node_config(name: str = "n1", *, fsync: bool = True) -> NodeConfig:
    """A node with free ports."""
    ports: list[int] = []
    for _ in Ports.__struct_fields__:
        ports.append(free_port(avoid=ports))
    return NodeConfig(version="test", cluster="test", node=name, fsync=fsync, created=0.0,
                      ports=Ports(**dict(zip(Ports.__struct_fields__, ports, strict=True))))


def _without_tls(argv: list[str]) -> list[str]:
    words = ("cert-file", "key-file", "trusted-ca-file", "client-cert-auth", "cipher-suites", "tls-min-version")
    return [option.replace("https://", "http://") for option in argv if not option.partition("=")[0].endswith(words)]


def _states(pid: int) -> list[str]:
    """Of each thread: R, S, T, …"""
    return [file.read_text().rpartition(") ")[2][0] for file in Path(f"/proc/{pid}/task").glob("*/stat")]


def _run_aside(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine to its end from a place where a loop may be running already."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
