"""nats-server: the broker of this node, with JetStream."""

from __future__ import annotations

import asyncio
import secrets
import signal
from pathlib import Path
from typing import Any

import msgspec

from arint.engines.engine import Engine, client_context
from arint.engines.find import Program, find_nats
from arint.engines.machine import disk_free, disk_used, memory, processors
from arint.engines.process import Process
from arint.home import Home, NodeConfig, Pem, write_private
from arint.security.permissions import bus_users

MAX_PAYLOAD = 8 * 1024**2
"""A body has 512 KiB at most; the rest is room for headers and for what a mapping makes of a body."""
_DISK_SHARE = 0.8
_LEAST_STORE = 256 * 1024**2
_MEMORY_LIMIT = 768 * 1024**2


class Routes(msgspec.Struct, frozen=True):
    """The brokers of one cluster. `others` are the route addresses (host:port) of all but this one."""

    cluster: str
    port: int
    others: tuple[str, ...]


class Known(msgspec.Struct, frozen=True):
    """Whom the broker lets in: what runs on these nodes, and these users."""

    nodes: tuple[str, ...] = ()
    users: tuple[str, ...] = ()


class Nats(Engine):
    """The broker of `home`, as `config` says."""

    name = "nats"

    def __init__(self, home: Home, config: NodeConfig, *, program: Program | None = None) -> None:
        self.program = program or find_nats()
        self._home = home
        self._config = config
        self._file = _file_of(home)
        self._known_file = home.nats / "known.json"
        self.known = _read_known(self._known_file)
        """Whom it lets in; those of its last run, until `let_in` says otherwise."""
        environment = {
            "GOMAXPROCS": str(processors()),
            # Without it, reading much of a big stream once takes the server to a gigabyte for good.
            "GOMEMLIMIT": str(min(_MEMORY_LIMIT, memory() // 4)),
        }
        self.process = Process(home, self.name, [self.program.path, "-c", str(self._file)], cwd=home.nats,
                               env=environment, prepare=self._write_config)

    @property
    def server(self) -> str:
        """The address for clients."""
        return f"tls://{self._config.host}:{self._config.ports.nats}"

    async def ask(self) -> None:
        """JetStream's own account information, over TLS as the agent."""
        await ask_jetstream(self._config.host, self._config.ports.nats, self._home.identity("agent"))

    async def stop(self, grace: float = 10.0) -> bool:
        """Lame duck (SIGUSR2): clients are told to go elsewhere; it ends at once where there are none.

        Where clients stay, half of `grace` is theirs; then SIGTERM, which writes everything down as well.
        """
        if await self._lame_duck(grace / 2):
            return True
        return await self.process.stop(grace / 2)

    def let_in(self, known: Known) -> bool:
        """Let in whoever is `known`, and this node, from now on; others are cut off at once. Whether that is news.

        The running broker reads its configuration again; call it when it is ready, since before it would end by it.
        """
        self.known = known
        before = self._file.read_bytes()
        room = msgspec.json.decode(before)["jetstream"]["max_file_store"]  # fixed until it is started anew
        if self._rendered(room) == before:
            return False
        write_private(self._known_file, msgspec.json.encode(known))
        write_private(self._file, self._rendered(room))
        self.reload()
        return True

    def reload(self) -> None:
        """Have the running broker read its configuration and certificates again; call it when it is ready."""
        self.process.send(signal.SIGHUP)

    async def _lame_duck(self, grace: float) -> bool:
        self.process.send(signal.SIGUSR2)
        try:
            async with asyncio.timeout(grace):
                await self.process.wait()
        except TimeoutError:
            return False
        return True

    def _write_config(self) -> None:
        store = self._home.nats / "store"
        store.mkdir(mode=0o700, exist_ok=True)
        room = disk_used(store) + int(_DISK_SHARE * disk_free(store))
        write_private(self._file, self._rendered(max(_LEAST_STORE, room)))

    def _rendered(self, room: int) -> bytes:
        config = nats_config(self._home, self._config, max_file_store=room, known=self.known)
        return msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n"


def _read_known(file: Path) -> Known:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Known)
    except (OSError, msgspec.MsgspecError):
        return Known()


def store_limit(home: Home) -> int | None:
    """How much the broker of this home may store, in bytes, as it was told at its start; None where there is none."""
    try:
        return int(msgspec.json.decode(_file_of(home).read_bytes())["jetstream"]["max_file_store"])
    except (OSError, ValueError, KeyError):
        return None


def _file_of(home: Home) -> Path:
    return home.nats / "nats.conf"


def nats_config(home: Home, config: NodeConfig, *, max_file_store: int, known: Known | None = None,
                routes: Routes | None = None) -> dict[str, Any]:
    """The server's configuration; its format takes JSON. `max_file_store` is in bytes, `known` who is let in.

    With `routes` it is one of several brokers. A broker alone never has them: it would wait for another for ever
    before it stores anything (docs/decisions/0030).
    """
    known = known or Known()
    pem = home.identity("nats-server")
    jetstream: dict[str, Any] = {
        "store_dir": str(home.nats / "store"),
        "max_file_store": max_file_store,
        "max_memory_store": 64 * 1024**2,
    }
    if config.fsync:
        jetstream["sync_interval"] = "always"
    several: dict[str, Any] = {}
    if routes is not None:
        several["cluster"] = {
            "name": routes.cluster, "host": config.host, "port": routes.port,
            "routes": [f"nats://{one}" for one in routes.others],
            "tls": {"cert_file": pem.certificate, "key_file": pem.key, "ca_file": pem.ca, "verify": True, "timeout": 5,
                    "min_version": "1.3"},
        }
    return {
        "server_name": config.node,
        "host": config.host,
        "port": config.ports.nats,
        "jetstream": jetstream,
        "tls": {"cert_file": pem.certificate, "key_file": pem.key, "ca_file": pem.ca, "verify_and_map": True,
                "timeout": 5, "min_version": "1.3"},
        "authorization": {"users": bus_users({*known.nodes, config.node}, known.users)},
        "max_payload": MAX_PAYLOAD,
        "write_deadline": "10s",
        "ping_interval": "20s",
        "lame_duck_grace_period": "1s",
        "lame_duck_duration": "30s",
        **several,
    }


async def ask_jetstream(host: str, port: int, pem: Pem | None = None) -> None:
    """Raises OSError, EOFError or ValueError unless the server answers for its JetStream.

    It speaks the few lines of the protocol that are needed, so that the agent need not import a client. Without `pem`
    it does so without TLS.
    """
    reader, writer = await asyncio.open_connection(host, port)
    try:
        greeting = await _line(reader)
        if not greeting.startswith("INFO "):
            raise ValueError(f"this is no NATS server: {greeting[:60]!r}")
        if pem is not None:
            await writer.start_tls(client_context(pem), server_hostname=host)
        inbox = f"_INBOX.{secrets.token_hex(8)}"
        options = '{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"lang":"arint","version":"0"}'
        writer.write(f"CONNECT {options}\r\nSUB {inbox} 1\r\nPUB $JS.API.INFO {inbox} 0\r\n\r\n".encode())
        await _await_reply(reader, writer)
    finally:
        writer.close()


async def _await_reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        line = await _line(reader)
        if line.startswith("MSG "):
            answer = msgspec.json.decode(await reader.readexactly(int(line.rsplit(" ", 1)[1])))
            if "error" in answer:
                raise ValueError(f"JetStream: {answer['error'].get('description')}")
            return
        if line.startswith("HMSG "):
            raise ValueError("JetStream does not run")
        if line.startswith("-ERR"):
            raise ValueError(f"the server says {line}")
        if line == "PING":
            writer.write(b"PONG\r\n")


async def _line(reader: asyncio.StreamReader) -> str:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise EOFError("the server closed the connection")
    return line.decode(errors="replace").strip()
