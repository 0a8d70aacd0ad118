"""An SQLAlchemy engine for each kind of database: driver, TLS, pool, waits, and how a running statement is ended."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import URL, Connection, Engine, create_engine, event

from arint.resources.quantities import seconds
from plugins.sql.specs import DRIVERS, SqlConnection, Tls

_IDLE = 1800
"""Seconds after which an unused connection is made anew: firewalls forget them."""
READS = "arint_reads"
"""The execution option of a transaction that changes nothing."""
LIMIT = "arint_limit"
"""The execution option with the seconds that one of its statements may take; the server ends it then."""
MOST = "arint_most"
"""The execution option with the number of rows that a query's answer may have: of MariaDB's, one more comes at most,
since its driver must read to the end what it does not want."""
_USUAL_LIMIT = 30.0
_CANCEL_TIMEOUT = 3.0
_SILENCE = 15.0
"""Seconds beyond a statement's limit after which a server that says nothing is taken for gone."""


class Opened(NamedTuple):
    """An engine; and, to be called from another thread, what ends the statement that runs on a driver's connection."""

    engine: Engine
    end: Callable[[Any], None]


def engine_for(url: URL, spec: SqlConnection, name: str) -> Opened:
    """The engine; nothing is opened yet. `url` has the password already."""
    backend = url.get_backend_name()
    url = url.set(drivername=DRIVERS.get(url.drivername, url.drivername))
    wait = seconds(spec.timeout)
    common: dict[str, Any] = {"hide_parameters": True}
    if spec.isolation and backend != "sqlite":
        common["isolation_level"] = spec.isolation.upper()
    if backend == "sqlite":
        return _sqlite(url, wait, common)
    common |= {"pool_pre_ping": True, "pool_timeout": wait, "pool_recycle": _IDLE, "pool_size": spec.connections,
               "max_overflow": 0}
    if backend == "postgresql":
        return _postgresql(url, spec, wait, name, common)
    if backend in ("mysql", "mariadb"):
        return _mysql(url, spec, wait, name, common)
    return Opened(create_engine(url, **common), lambda driver: None)


def _sqlite(url: URL, wait: float, common: dict[str, Any]) -> Opened:
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": wait, "check_same_thread": False}, **common)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return Opened(engine, lambda driver: driver.interrupt())


def _prepare_sqlite(driver: Any, _: Any) -> None:
    driver.isolation_level = None  # the driver's own idea of when to begin leaves statements outside of transactions
    for pragma in ("journal_mode=wal", "synchronous=full", "foreign_keys=on"):
        driver.execute(f"pragma {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    reads = bool(connection.get_execution_options().get(READS))
    connection.exec_driver_sql(f"pragma query_only={'on' if reads else 'off'}")
    # A transaction that begins by reading cannot wait for the writer before it: it fails at once
    connection.exec_driver_sql("begin" if reads else "begin immediate")


def _postgresql(url: URL, spec: SqlConnection, wait: float, name: str, common: dict[str, Any]) -> Opened:
    arguments: dict[str, Any] = {
        "connect_timeout": max(ceil(wait), 2), "application_name": f"arint {name}", "keepalives_idle": 10,
        "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
    if spec.tls is not None:
        arguments |= _libpq(spec.tls)
    engine = create_engine(url, connect_args=arguments, **common)

    def prepare(driver: Any, _: Any) -> None:
        driver.autocommit = True
        driver.execute(f"set lock_timeout = {_ms(wait)}; set statement_timeout = {_ms(_USUAL_LIMIT)}").close()
        driver.autocommit = False

    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        limit = options.get(LIMIT, _USUAL_LIMIT)
        told = [f"set local statement_timeout = {_ms(limit)}"] if limit != _USUAL_LIMIT else []
        if options.get(READS):
            told.append("set transaction read only")
        if told:
            connection.exec_driver_sql("; ".join(told))

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return Opened(engine, lambda driver: driver.cancel_safe(timeout=_CANCEL_TIMEOUT))


def _ms(duration: float) -> int:
    return max(ceil(duration * 1000), 1)


def _libpq(tls: Tls) -> dict[str, str]:
    mode = {"full": "verify-full", "ca": "verify-ca", "none": "require"}[tls.verify]
    files = {"sslrootcert": tls.ca or ("" if tls.verify == "none" else "system"), "sslcert": tls.certificate,
             "sslkey": tls.key}
    return {"sslmode": mode, **{key: value for key, value in files.items() if value}}


def _mysql(url: URL, spec: SqlConnection, wait: float, name: str, common: dict[str, Any]) -> Opened:
    arguments: dict[str, Any] = {"connect_timeout": max(wait, 2), "charset": "utf8mb4",
                                 "program_name": f"arint {name}"}
    if spec.tls is not None:
        arguments["ssl"] = _context(spec.tls)
    engine = create_engine(url, connect_args=arguments, **common)

    def prepare(driver: Any, _: Any) -> None:
        with driver.cursor() as cursor:
            # Without strict mode a value that does not fit is cut to fit, with a warning that nobody reads
            cursor.execute("set session innodb_lock_wait_timeout = %s, "
                           "sql_mode = concat_ws(',', nullif(@@sql_mode, ''), 'STRICT_TRANS_TABLES')",
                           (max(ceil(wait), 1),))
        driver.commit()

    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        limit = options.get(LIMIT, _USUAL_LIMIT)
        if connection.info.get(LIMIT) != limit:
            mariadb = getattr(connection.dialect, "is_mariadb", False)
            connection.exec_driver_sql(f"set session max_statement_time = {limit:f}" if mariadb else
                                       f"set session max_execution_time = {_ms(limit)}")
            connection.info[LIMIT] = limit
        most = str(options[MOST] + 1) if options.get(MOST) else "default"
        if connection.info.get(MOST, "default") != most:
            connection.exec_driver_sql(f"set session sql_select_limit = {most}")
            connection.info[MOST] = most
        driver: Any = connection.connection.dbapi_connection
        # A read without end would keep the thread for ever; PyMySQL has no public way to change this
        driver._read_timeout = driver._write_timeout = limit + _SILENCE
        if options.get(READS):
            connection.exec_driver_sql("start transaction read only")

    def end(driver: Any) -> None:
        positional, named = engine.dialect.create_connect_args(url)
        other: Any = engine.dialect.connect(*positional, **{**named, **arguments, "connect_timeout": _CANCEL_TIMEOUT})
        try:
            other.cursor().execute(f"kill query {int(driver.thread_id())}")
        finally:
            other.close()

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return Opened(engine, end)


def _context(tls: Tls) -> Any:
    import ssl

    context = ssl.create_default_context(cafile=tls.ca or None)
    context.check_hostname = tls.verify == "full"
    if tls.verify == "none":
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate:
        context.load_cert_chain(tls.certificate, tls.key)
    return context
