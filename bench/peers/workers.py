"""The trivial task in other frameworks: one worker process each, from its queue to its stored result."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from arint.bus import streams
from arint.bus.connection import Bus
from arint.runtime.control import BusSettings
from bench.peers.environment import Missing, environment
from bench.peers.redis_server import keys, redis
from bench.watch import rate_of
from tests.servers import NatsServer

HERE = Path(__file__).parent
MESSAGES = 6_000


def celery() -> float:
    """Tasks a second of Celery over Redis, pool `solo`."""
    programs = environment("celery", "packaging", "redis")
    worker = [str(programs / "celery"), "-A", "celery_work", "worker", "--pool", "solo", "--loglevel", "ERROR",
              "--without-gossip", "--without-mingle", "--without-heartbeat"]
    return _over_redis(programs, "celery_work.py", worker)


def dramatiq() -> float:
    """Tasks a second of Dramatiq over Redis, one process with its eight threads."""
    programs = environment("dramatiq[redis]")
    worker = [str(programs / "dramatiq"), "dramatiq_work", "--processes", "1", "--skip-logging"]
    return _over_redis(programs, "dramatiq_work.py", worker)


def faststream() -> float:
    """Messages a second of FastStream over JetStream, pulling a hundred at a time, without TLS and without records."""
    programs = environment("faststream[cli,nats]")
    with tempfile.TemporaryDirectory(prefix="arint-bench-") as folder:
        server = NatsServer(Path(folder) / "nats", max_file_store=4 * 2**30)
        server.start()
        try:
            address = {"PEER_PORT": str(server.port)}
            _fill(programs, "faststream_work.py", address)
            return asyncio.run(_watch_stream(server, _started(
                [str(programs / "faststream"), "run", "faststream_work:app", "--log-level", "error"], address)))
        finally:
            server.close()


PEERS: dict[str, Callable[[], float]] = {"Celery": celery, "Dramatiq": dramatiq, "FastStream": faststream}


def measured(name: str) -> float | str:
    """Its rate, or why there is none."""
    try:
        return PEERS[name]()
    except (Missing, RuntimeError, subprocess.CalledProcessError, OSError) as error:
        return str(error)


def _over_redis(programs: Path, script: str, worker: list[str]) -> float:
    with redis() as port, ExitStack() as stack:
        address = {"PEER_PORT": str(port)}
        _fill(programs, script, address)
        process = _started(worker, address)
        stack.callback(_end, process)

        async def done() -> int:
            return keys(port, 1)

        return asyncio.run(rate_of(done, MESSAGES))


async def _watch_stream(server: NatsServer, process: subprocess.Popen[bytes]) -> float:
    try:
        async with await Bus.connect(BusSettings((server.server,), "", "", ""), name="bench") as bus:
            async def done() -> int:
                return (await streams.state(bus, "PEER-OUT")).messages

            return await rate_of(done, MESSAGES)
    finally:
        _end(process)


def _fill(programs: Path, script: str, address: dict[str, str]) -> None:
    subprocess.run([str(programs / "python"), str(HERE / script), str(MESSAGES)], check=True, cwd=HERE,
                   env={**os.environ, **address}, capture_output=True)


def _started(command: list[str], address: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=HERE, env={**os.environ, "PYTHONPATH": str(HERE), **address},
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
