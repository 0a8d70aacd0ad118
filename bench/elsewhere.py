"""A call to another node: over the broker, as it is done, beside a TLS connection straight to it, which is not.

Both on the loopback with mTLS 1.3 and a body of 1 KiB: one after the other, and 64 at once. Caller, broker and answerer
are processes of their own. The straight one sends a length and the body each way, and nothing else: it is what framing,
deadlines, errors and the choice of an instance would come on top of.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median

from arint.bus import requests
from arint.bus.connection import Bus
from arint.home import Home, Pem
from arint.message import Message
from arint.ports import free_port
from arint.runtime.control import BusSettings
from arint.security.ca import ensure_pki
from bench.report import Figure, best
from tests.servers import NatsServer, node_config

Ask = Callable[[], Awaitable[None]]
BODY = b"x" * 1024
SUBJECT = "rpc.bench.bench-1"
ONE_BY_ONE = 2000
AT_ONCE = 64
MANY = 20_000


def measure(runs: int) -> list[Figure]:
    """Both ways."""
    with tempfile.TemporaryDirectory(prefix="arint-bench-") as folder:
        home = Home(Path(folder) / "home")
        home.make_folders()
        home.save(node_config("n1"))
        ensure_pki(home)
        nats = NatsServer(Path(folder) / "nats", tls=True, pki=home.pki)
        nats.start()
        port = free_port()
        children = [_child("answer", nats.server, home), _child("listen", str(port), home)]
        try:
            bus = [asyncio.run(_over_bus(_settings(nats.server, home))) for _ in range(runs)]
            straight = [asyncio.run(_straight(port, home.identity("worker"))) for _ in range(runs)]
        finally:
            for child in children:
                child.terminate()
                child.wait()
            nats.close()
    return [
        best("a call to another node, over the bus", [one[0] * 1e3 for one in bus], "ms", better="less",
             detail="median, one after the other"),
        best("beside it: a TLS connection of its own", [one[0] * 1e3 for one in straight], "ms", better="less",
             detail="the same, without framing, deadlines and errors"),
        best("calls to another node, over the bus", [one[1] for one in bus], "/s", detail=f"{AT_ONCE} at once"),
        best("beside it: TLS connections of their own", [one[1] for one in straight], "/s",
             detail=f"{AT_ONCE} connections")]


def _settings(server: str, home: Home) -> BusSettings:
    return BusSettings((server,), *home.identity("worker"))


def _child(what: str, where: str, home: Home) -> subprocess.Popen[bytes]:
    child = subprocess.Popen([sys.executable, "-m", "bench.elsewhere", what, where, str(home.path)],
                             stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    return child


async def _over_bus(settings: BusSettings) -> tuple[float, float]:
    async with await Bus.connect(settings, name="bench") as bus:
        async def ask() -> None:
            await requests.ask(bus, SUBJECT, Message.new(BODY), 10.0)

        return await _timed([ask] * AT_ONCE)


async def _straight(port: int, pem: Pem) -> tuple[float, float]:
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=pem.ca)
    context.load_cert_chain(pem.certificate, pem.key)

    async def connected() -> Ask:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="127.0.0.1")

        async def ask() -> None:
            writer.write(len(BODY).to_bytes(4, "big") + BODY)
            await reader.readexactly(4 + len(BODY))

        return ask

    return await _timed([await connected() for _ in range(AT_ONCE)])


async def _timed(askers: Sequence[Ask]) -> tuple[float, float]:
    """The median of calls one after the other in seconds, and calls a second many at once."""
    took = []
    for _ in range(ONE_BY_ONE):
        began = time.perf_counter()
        await askers[0]()
        took.append(time.perf_counter() - began)

    async def worker(ask: Ask) -> None:
        for _ in range(MANY // AT_ONCE):
            await ask()

    began = time.perf_counter()
    await asyncio.gather(*map(worker, askers))
    return median(took), MANY / (time.perf_counter() - began)


async def _answer(server: str, home: Home) -> None:
    async with await Bus.connect(_settings(server, home), name="answers") as bus:
        async def answerer(message: Message, left: float) -> Message:
            return message

        await requests.answer(bus, SUBJECT, answerer)
        await bus.wire.flush(5)
        print("ready", flush=True)
        await asyncio.Event().wait()


async def _listen(port: int, home: Home) -> None:
    pem = home.identity("nats-server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pem.ca)
    context.load_cert_chain(pem.certificate, pem.key)
    context.verify_mode = ssl.CERT_REQUIRED

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                size = await reader.readexactly(4)
                writer.write(size + await reader.readexactly(int.from_bytes(size, "big")))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    await asyncio.start_server(serve, "127.0.0.1", port, ssl=context)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    _what, _where, _home = sys.argv[1:4]
    asyncio.run(_answer(_where, Home(_home)) if _what == "answer" else _listen(int(_where), Home(_home)))
