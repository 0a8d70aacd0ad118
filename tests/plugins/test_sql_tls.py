"""TLS to a PostgreSQL that insists on it: whom it is verified to be, and by which certificate one comes in."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from arint.errors import SystemUnavailableError
from arint.home import Home
from arint.security.ca import ensure_pki
from tests.databases import PASSWORD, Missing, TlsPostgresServer, started
from tests.plugins.databases import TestDatabase, delivery


def pki(folder: Path, *hosts: str) -> Home:
    home = Home(folder)
    ensure_pki(home, hosts)
    return home


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return pki(tmp_path_factory.mktemp("ours"), "127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def server(ours: Home) -> Iterator[TlsPostgresServer]:
    try:
        server = started(partial(TlsPostgresServer, pki=ours))
    except Missing as missing:
        pytest.skip(str(missing))
    server.execute(f"create role certified login password '{PASSWORD}'")
    yield server
    server.close()


async def answer(server: TlsPostgresServer, folder: Path, tls: dict[str, Any] | None, *, user: str = "arint",
                 host: str = "127.0.0.1") -> bytes:
    db = TestDatabase("postgresql", folder, server)
    url = server.url("public", user=user).replace("127.0.0.1", host)
    sink = db.sink(url=url, **({} if tls is None else {"tls": tls}))
    try:
        await sink.probe()
        found: bytes = await sink.send(delivery({}, rows="scalar", statement=(
            "select ssl::text || ' ' || version from pg_stat_ssl where pid = pg_backend_pid()")))
        return found
    finally:
        await sink.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_verify_full_is_the_default_and_holds(server: TlsPostgresServer, ours: Home, tmp_path: Path,
                                                    host: str) -> None:
    ca = ours.identity("nats-server").ca
    assert await answer(server, tmp_path, {"ca": ca}, host=host) == b'"true TLSv1.3"'


async def test_what_is_not_declared_is_encrypted_but_nobody_verified(server: TlsPostgresServer,
                                                                      tmp_path: Path) -> None:
    """libpq prefers TLS by itself, and trusts whoever answers."""
    assert await answer(server, tmp_path, None) == b'"true TLSv1.3"'


async def test_another_ca_is_refused_in_words(server: TlsPostgresServer, tmp_path: Path) -> None:
    other = pki(tmp_path / "other", "127.0.0.1").identity("nats-server").ca
    for verify in ("full", "ca"):
        with pytest.raises(SystemUnavailableError, match="certificate verify failed") as refused:
            await answer(server, tmp_path, {"ca": other, "verify": verify})
        assert PASSWORD not in str(refused.value)
    assert await answer(server, tmp_path, {"verify": "none"}) == b'"true TLSv1.3"'


async def test_another_ca_file_that_is_not_there_is_told(server: TlsPostgresServer, tmp_path: Path) -> None:
    with pytest.raises(SystemUnavailableError, match=r"missing\.pem"):
        await answer(server, tmp_path, {"ca": str(tmp_path / "missing.pem")})


async def test_a_server_with_another_name_passes_only_as_far_as_its_ca(tmp_path: Path) -> None:
    stranger = pki(tmp_path / "stranger", "db.elsewhere.example")
    try:
        server = started(partial(TlsPostgresServer, pki=stranger))
    except Missing as missing:
        pytest.skip(str(missing))
    try:
        ca = stranger.identity("nats-server").ca
        with pytest.raises(SystemUnavailableError, match=r"does not match host name"):
            await answer(server, tmp_path, {"ca": ca})
        assert await answer(server, tmp_path, {"ca": ca, "verify": "ca"}) == b'"true TLSv1.3"'
    finally:
        server.close()


async def test_a_clients_certificate(server: TlsPostgresServer, ours: Home, tmp_path: Path) -> None:
    worker = ours.identity("worker")
    tls = {"ca": worker.ca}
    with pytest.raises(SystemUnavailableError, match="client certificate"):
        await answer(server, tmp_path, tls, user="certified")
    told = await answer(server, tmp_path, {**tls, "certificate": worker.certificate, "key": worker.key},
                        user="certified")
    assert told == b'"true TLSv1.3"'
