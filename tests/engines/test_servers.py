"""The engines as the agent runs them, and the servers that other tests stand on."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arint.engines.engine import Engine, client_context
from arint.engines.etcd import Etcd, ask_health, etcd_argv
from arint.engines.find import Program
from arint.engines.nats import Nats, ask_jetstream
from arint.errors import TimedOutError, UnreachableError
from arint.home import Home
from tests.patience import PATIENCE
from tests.servers import EtcdServer, NatsServer, node_config, prepared_home


@pytest.fixture
def home(tmp_path: Path, pki: Path) -> Home:
    return prepared_home(tmp_path / "a home, with \"quotes\" and ünïcode", pki)


@pytest.fixture(params=[Etcd, Nats])
async def engine(request: pytest.FixtureRequest, home: Home) -> AsyncIterator[Engine]:
    engine: Engine = request.param(home, node_config())
    yield engine
    engine.process.kill()
    await engine.process.wait()


async def test_engine_starts_answers_and_stops_gently(engine: Engine, home: Home) -> None:
    with pytest.raises(UnreachableError, match="does not answer"):
        await engine.probe()
    engine.process.start()
    await engine.wait_ready()
    assert await engine.stop()
    assert not engine.process.running
    assert not list(home.run.iterdir())


async def test_engine_is_adopted_while_it_works(engine: Engine, home: Home) -> None:
    engine.process.start()
    await engine.wait_ready()
    pid = engine.process.pid
    engine.process.release()
    again = type(engine)(home, engine._config)  # type: ignore[attr-defined,call-arg]
    again.process.start()
    assert again.process.pid == pid
    assert not again.process.outdated
    await again.probe()
    await again.stop()


async def test_paused_engine_is_unreachable(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    monkeypatch.setattr("arint.engines.engine.PROBE_TIMEOUT", 0.3)
    engine.process.start()
    await engine.wait_ready()
    engine.process.send(signal.SIGSTOP)
    with pytest.raises(UnreachableError, match="no answer"):
        await engine.probe()
    engine.process.send(signal.SIGCONT)
    await engine.wait_ready()


async def test_engine_that_cannot_start_says_why(home: Home, tmp_path: Path) -> None:
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho no such luck; exit 1\n")
    program.chmod(0o755)
    engine = Nats(home, node_config(), program=Program(str(program), (2, 15, 1), "test"))
    engine.process.start()
    with pytest.raises(TimedOutError, match="no such luck"):
        await engine.wait_ready(0.5)


async def test_engines_refuse_strangers(etcd_tls_server: EtcdServer, nats_tls_server: NatsServer) -> None:
    """Neither without a certificate, nor with one of the other CA."""
    worker = nats_tls_server.home.identity("worker")
    etcd = etcd_tls_server.home.identity("etcd-agent")
    strange = etcd._replace(certificate=worker.certificate, key=worker.key)
    with pytest.raises((OSError, EOFError, ValueError)):
        await ask_health("127.0.0.1", etcd_tls_server.port, strange)
    with pytest.raises((OSError, EOFError, ValueError)):
        await ask_health("127.0.0.1", etcd_tls_server.port, None)
    with pytest.raises((OSError, EOFError, ValueError)):
        await ask_jetstream("127.0.0.1", nats_tls_server.port, worker._replace(certificate=etcd.certificate,
                                                                                key=etcd.key))
    with pytest.raises((OSError, EOFError, ValueError)):
        await ask_jetstream("127.0.0.1", nats_tls_server.port)


async def test_tls_is_1_3_where_the_engine_has_it(etcd_tls_server: EtcdServer, nats_tls_server: NatsServer) -> None:
    """The embedded etcd 3.5.1 ends at 1.2; a forward-secret AEAD suite is the least there."""
    context = client_context(etcd_tls_server.home.identity("etcd-agent"))
    _, writer = await asyncio.open_connection("127.0.0.1", etcd_tls_server.port, ssl=context)
    tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
    cipher, version, _ = tls.cipher() or ("", "", 0)
    assert version == "TLSv1.3" or (cipher.startswith("ECDHE-ECDSA-AES") and "GCM" in cipher)
    writer.close()

    old = client_context(nats_tls_server.home.identity("worker"))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    reader, writer = await asyncio.open_connection("127.0.0.1", nats_tls_server.port)
    await reader.readline()
    with pytest.raises((OSError, EOFError)):
        await writer.start_tls(old)
    writer.close()


def test_newer_etcd_is_told_to_speak_tls_1_3_alone(home: Home) -> None:
    argv = etcd_argv(Program("etcd", (3, 5, 16), ""), home, node_config())
    assert "--tls-min-version=TLS1.3" in argv
    assert not [option for option in argv if option.startswith("--cipher-suites")]


async def test_the_probe_knows_a_broker_without_jetstream(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "home", options={"jetstream": False})
    try:
        server.start(wait=False)
        with pytest.raises(AssertionError, match="JetStream"):
            await server.wait_ready(2)
    finally:
        server.close()


def test_broker_takes_its_configuration_as_it_is(home: Home) -> None:
    engine = Nats(home, node_config())
    engine._write_config()
    output = subprocess.run([engine.program.path, "-t", "-c", str(home.nats / "nats.conf")], capture_output=True,
                            text=True, check=False)
    assert output.returncode == 0, output.stderr
    assert (home.nats / "nats.conf").stat().st_mode & 0o777 == 0o600


def test_newer_etcd_gets_the_flags_by_their_new_names(home: Home) -> None:
    def flags(*version: int) -> str:
        return " ".join(etcd_argv(Program("etcd", version, ""), home, node_config()))  # type: ignore[arg-type]

    assert "--experimental-initial-corrupt-check" in flags(3, 5, 16)
    assert "experimental" not in flags(3, 6, 0)
    assert "--feature-gates=InitialCorruptCheck=true" in flags(3, 6, 0)


async def test_servers_come_back_with_their_data_and_port(etcd_server: EtcdServer, nats_server: NatsServer) -> None:
    for server in (etcd_server, nats_server):
        server.restart()
        server.terminate()
        server.start(wait=False)
        await server.wait_ready()


async def test_a_cluster_of_three_survives_one(etcd_cluster: list[EtcdServer]) -> None:
    etcd_cluster[0].kill()
    await etcd_cluster[1].wait_ready()
    etcd_cluster[0].start(wait=False)
    await etcd_cluster[0].wait_ready()


async def test_broker_with_a_client_still_stops_in_time(home: Home) -> None:
    engine = Nats(home, node_config())
    engine.process.start()
    await engine.wait_ready()
    reader, writer = await asyncio.open_connection("127.0.0.1", engine._config.ports.nats)
    try:
        await reader.readline()
        async with asyncio.timeout(PATIENCE):
            assert await engine.stop(6)
    finally:
        engine.process.kill()
        await engine.process.wait()
        writer.close()
