"""Carries out what a data API asks: in one transaction, bounded, once where it changes something. Blocking."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import BindParameter, Connection, CursorResult, TextClause, bindparam

from arint.errors import RejectedError
from plugins.sql import delivered, rows
from plugins.sql.api import paging
from plugins.sql.api.paging import PageOf
from plugins.sql.asking import LARGEST_PAGE, Ask
from plugins.sql.database import Database, Job
from plugins.sql.plans import parsed
from plugins.sql.wording import with_casts

_TYPES = {"integer": "bigint", "number": "numeric", "boolean": "boolean", "date": "date", "date-time": "timestamptz",
          "time": "time", "uuid": "uuid"}
"""PostgreSQL's, of what may be null: in `:name is null or name = :name` it does not guess them."""


def answer(database: Database, ask: Ask, key: str, job: Job) -> bytes:
    """The answer as JSON. Raises ArintError."""
    if ask.reads:
        return database.contended(job, lambda: _asked(database, ask, job))
    if not ask.once:
        return database.contended(job, lambda: _changed(database, ask, job))
    answered = database.contended(job, lambda: _changed_once(database, ask, key, job))
    database.forget_old_keys(1)
    return answered


def _asked(database: Database, ask: Ask, job: Job) -> bytes:
    with database.transaction(job, reads=True, most=ask.limit) as connection:
        return _run(database, connection, ask)


def _changed(database: Database, ask: Ask, job: Job) -> bytes:
    with database.transaction(job) as connection:
        return _run(database, connection, ask)


def _changed_once(database: Database, ask: Ask, key: str, job: Job) -> bytes:
    database.ensure_tables(job)
    try:
        with database.transaction(job) as connection:
            database.claim(connection, [key])
            answered = _run(database, connection, ask)
            delivered.keep_answer(connection, key, ask.fingerprint.encode() + b"\n" + answered)
            return answered
    except delivered.RepeatedError:
        with database.transaction(job, reads=True) as connection:
            fingerprint, _, answered = (delivered.kept_answer(connection, key) or b"\n").partition(b"\n")
        if fingerprint.decode() != ask.fingerprint:
            raise RejectedError("this Idempotency-Key came before with something else") from None
        return answered


def _run(database: Database, connection: Connection, ask: Ask) -> bytes:
    answered, changed = b"null", 0
    for number, declared in enumerate(ask.statements, 1):
        statement = declared if ask.page is None else paging.statement(declared, ask.page, database.quote)
        clause, bound = _bound(database, statement, ask)
        with database.run(connection, clause, bound, f"statement {number}", reads=ask.reads,
                          stream_results=ask.reads) as result:
            if not result.returns_rows:
                changed += max(result.rowcount, 0)
            elif ask.rows == "changed":
                changed += len(result.fetchall())
            else:
                answered = _answer(database, result, ask, f"statement {number}")
    return rows.write({"changed": changed}) if ask.rows == "changed" else answered


def _bound(database: Database, statement: str, ask: Ask) -> tuple[TextClause, dict[str, Any]]:
    """The statement, and the values of its parameters: never a part of its text."""
    values = {**ask.values, **(paging.bound(ask.page) if ask.page is not None else {})}
    if database.backend == "postgresql":
        casts = {name: _TYPES.get(kind, "text") for name, kind in ask.types.items() if kind != "array"}
        statement = with_casts(statement, casts) if casts else statement
    clause = parsed(statement)
    lists: list[BindParameter[Any]] = [
        bindparam(name, expanding=True) for name in clause._bindparams if isinstance(values[name], list)]
    if lists:
        clause = clause.bindparams(*lists)
    if database.is_file:  # SQLite has no decimals
        values = {name: float(value) if isinstance(value, Decimal) else value for name, value in values.items()}
    return clause, {name: values[name] for name in clause._bindparams}


def _answer(database: Database, result: CursorResult[Any], ask: Ask, place: str) -> bytes:
    if ask.page is not None:
        return _page(database, result, ask.page, place)
    if ask.rows == "scalar":
        return database.scalar(result, place)
    found = database.fetch(result, ask.limit if ask.rows == "all" else 1, LARGEST_PAGE, place)
    if ask.rows == "one":
        return found[0] if found else b"null"
    return b'{"items":[' + b",".join(found) + b"]}"


def _page(database: Database, result: CursorResult[Any], page: PageOf, place: str) -> bytes:
    """As many rows as the page has, or fewer where they are large; and the way to the next, if there is one."""
    found = database.gathered(result, page.order, page.size + 1, LARGEST_PAGE, place)
    is_cut = len(found) > page.size or sum(len(row.body) for row in found) > LARGEST_PAGE
    shown = found[:page.size]
    following = rows.write(page.link + paging.mark(shown[-1].values)) if is_cut else b"null"
    return b'{"items":[' + b",".join(row.body for row in shown) + b'],"next":' + following + b"}"
