"""One database: opened when first needed, and every message's statements done in one transaction, once.

Blocking, and used from threads of the sink. `arint_delivered` stands in the same database, and its row is written in
the same transaction as the message's statements: both are there, or neither.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import msgspec
from sqlalchemy import URL, Connection, CursorResult, text

from arint.errors import ArintError, RejectedError, SystemUnavailableError
from arint.plugins import FullError
from plugins.sql import delivered, rows
from plugins.sql.engines import LIMIT, MOST, READS, Opened, engine_for
from plugins.sql.failures import CancelledError, ContendedError, LockedError, translated
from plugins.sql.plans import Answer, Plan, Task, parsed
from plugins.sql.specs import LARGEST_ANSWER, SqlConnection
from plugins.sql.wording import only_reads

_log = logging.getLogger(__name__)
_FORGET_EVERY = 10_000
_TRIES = 6
"""Of a transaction that met a deadlock or a conflict."""
_PAUSE = 0.02
_CHUNK = 500
T = TypeVar("T")


class Alone(Exception):
    """The messages of this batch are to be delivered one by one."""


class Row(msgspec.Struct, frozen=True):
    """A row: the values by which it is known, its JSON, and its columns."""

    values: tuple[Any, ...]
    body: bytes
    columns: dict[str, Any]


class Job:
    """One piece of work in a thread: what it may take, and what ends it from outside."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.ended = False
        self._end: Callable[[], None] | None = None
        self._lock = threading.Lock()

    @contextmanager
    def running(self, end: Callable[[], None]) -> Iterator[None]:
        """Within, `end` may be called from another thread."""
        with self._lock:
            self._end = end
        try:
            yield
        finally:
            with self._lock:
                self._end = None

    def end(self) -> None:
        """End the statement that runs, if one does. May block for some seconds."""
        self.ended = True
        with self._lock, suppress(Exception):  # what cannot be ended, the server ends by its own limit
            if self._end is not None:
                self._end()


class Database:
    """Of SQLite's, not for more than one writing thread at once: they would wait for each other anyway."""

    def __init__(self, url: URL, spec: SqlConnection, name: str) -> None:
        self._url = url
        self._spec = spec
        self._name = name
        self._where = f"connection/{name}"
        self._opened: Opened | None = None
        self._opening = threading.Lock()
        self._has_tables = False
        self._making_tables = threading.Lock()
        self._done = _FORGET_EVERY
        self._clock = url.get_backend_name() in ("mysql", "mariadb")

    def deliver(self, plan: Plan, job: Job) -> bytes | None:
        """Run one message's statements, unless this key's have been run before. Raises ArintError."""
        if plan.reads:
            return self.contended(job, lambda: self._read(plan, job))
        answer = self.contended(job, lambda: self._write(plan, job))
        self.forget_old_keys(1)
        return answer

    def deliver_many(self, plans: Sequence[Plan], job: Job) -> list[ArintError | None]:
        """Run the statements of many messages, none of which asks for an answer: what became of each.

        Together, if all goes well; else each behind a savepoint of its own. Raises SystemUnavailableError for all of
        them, and Alone where they would hold each other up.
        """
        try:
            self.contended(job, lambda: self._write_together(plans, job))
        except SystemUnavailableError:
            raise
        except (LockedError, CancelledError, ContendedError):
            raise Alone from None
        except ArintError:
            outcome = self._write_apart(plans, job)
        else:
            outcome = [None] * len(plans)
        self.forget_old_keys(len(plans))
        return outcome

    def rows(self, job: Job, statement: str, bound: Mapping[str, Any], order: Sequence[str], most: int,
             largest: int) -> list[Row]:
        """The rows of a query that only reads."""
        with self.transaction(job, reads=True) as connection:
            return self.rows_in(connection, statement, bound, order, most, largest)

    def rows_in(self, connection: Connection, statement: str, bound: Mapping[str, Any], order: Sequence[str],
                most: int, largest: int) -> list[Row]:
        """The rows of a query, with the values of the columns `order`: at most `most`, and fewer if they are large.

        Raises RejectedError where the query does not have these columns.
        """
        with self.run(connection, parsed(statement), dict(bound), "query", stream_results=True) as result:
            return self.gathered(result, order, most, largest, "query")

    def gathered(self, result: CursorResult[Any], order: Sequence[str], most: int, largest: int,
                 place: str) -> list[Row]:
        """The first rows of a result, until they are `most` or more than `largest` bytes."""
        where = f"{self._where}, {place}"
        names = rows.unique(result.keys(), where)
        missing = [column for column in order if column not in names]
        if missing:
            raise RejectedError(f'there is no column "{missing[0]}"', where=where,
                                remedy=f"its columns are {', '.join(names)}")
        found: list[Row] = []
        size = 0
        try:
            for row in result.mappings():
                body = next(rows.encoded([row], clock=self._clock))
                size += len(body)
                found.append(Row(tuple(row[column] for column in order), body, dict(row)))
                if len(found) == most or size > largest:
                    break
        except Exception as error:
            raise translated(error, where) from None
        return found

    @property
    def backend(self) -> str:
        """`sqlite`, `postgresql`, `mysql`, `mariadb`, or another of SQLAlchemy's names."""
        return self._url.get_backend_name()

    @property
    def is_file(self) -> bool:
        """SQLite: one writer at a time, in any process."""
        return self.backend == "sqlite"

    @property
    def quote(self) -> Callable[[str], str]:
        """How this database writes a column's name."""
        preparer = self._open().engine.dialect.identifier_preparer
        return preparer.quote

    def check(self, job: Job) -> None:
        """Is the database there, and free to write to? Raises SystemUnavailableError."""
        with self.transaction(job) as connection:
            connection.execute(text("select 1"))

    def close(self) -> None:
        """Close all connections."""
        with self._opening:
            if self._opened is not None:
                self._opened.engine.dispose()
                self._opened = None

    @contextmanager
    def transaction(self, job: Job, *, reads: bool = False, place: str = "",
                    most: int = 0) -> Iterator[Connection]:
        """A transaction: committed at its end, rolled back by any error; those of the database come translated."""
        try:
            opened = self._open()
            with opened.engine.connect() as connection:
                connection.execution_options(**{READS: reads, LIMIT: job.limit, MOST: most})
                driver = connection.connection.dbapi_connection
                with job.running(lambda: opened.end(driver)), connection.begin():
                    yield connection
        except (ArintError, delivered.RepeatedError, FullError):
            raise
        except Exception as error:
            raise translated(error, f"{self._where}{place}", reading=reads) from None

    def run(self, connection: Connection, clause: Any, bound: Any, place: str, *, reads: bool = False,
            **options: Any) -> CursorResult[Any]:
        """Run one statement within a transaction; its errors name the place."""
        try:
            return connection.execute(clause, bound, execution_options=options)
        except Exception as error:
            raise translated(error, f"{self._where}, {place}", reading=reads) from None

    def fetch(self, result: CursorResult[Any], limit: int, largest: int, place: str) -> list[bytes]:
        """The rows, each as JSON. Raises RejectedError for more rows than `limit`, or more bytes than `largest`."""
        where = f"{self._where}, {place}"
        rows.unique(result.keys(), where)
        found: list[bytes] = []
        size = 0
        try:
            while chunk := result.mappings().fetchmany(min(_CHUNK, limit + 1 - len(found))):
                found += rows.encoded(chunk, clock=self._clock)
                size += sum(map(len, found[-len(chunk):]))
                if len(found) > limit or size > largest:
                    break
        except Exception as error:
            raise translated(error, where) from None
        if len(found) > limit or size > largest:
            told = f"{limit} row{'s' * (limit > 1)}" if len(found) > limit else f"{largest} bytes"
            raise RejectedError(f"the answer has more than {told}", where=where,
                                remedy="narrow the query, or set its limit")
        return found

    def _read(self, plan: Plan, job: Job) -> bytes | None:
        assert plan.answer is not None
        with self.transaction(job, reads=True, most=plan.answer.limit) as connection:
            return self._answered(connection, plan, reads=True)

    def _write(self, plan: Plan, job: Job) -> bytes | None:
        self.ensure_tables(job)
        try:
            with self.transaction(job) as connection:
                self.claim(connection, [plan.key])
                if plan.answer is None:
                    self._do(connection, plan.tasks)
                    return None
                answer = self._answered(connection, plan)
                if answer is not None:
                    delivered.keep_answer(connection, plan.key, answer)
                return answer
        except delivered.RepeatedError:
            if plan.answer is None:
                return None
            with self.transaction(job, reads=True) as connection:
                return delivered.kept_answer(connection, plan.key)

    def _write_together(self, plans: Sequence[Plan], job: Job) -> None:
        self.ensure_tables(job)
        try:
            with self.transaction(job) as connection:
                self.claim(connection, [plan.key for plan in plans])
                self._do_grouped(connection, plans)
        except delivered.RepeatedError:
            self._write_rest(plans, job)

    def _write_rest(self, plans: Sequence[Plan], job: Job) -> None:
        """Some were done before; or one is here twice, since a consumer was given its message again."""
        try:
            with self.transaction(job) as connection:
                done = delivered.known(connection, [plan.key for plan in plans])
                left = list({plan.key: plan for plan in plans if plan.key not in done}.values())
                if left:
                    self.claim(connection, [plan.key for plan in left])
                    self._do_grouped(connection, left)
        except delivered.RepeatedError:  # another process is at the same messages, this very moment
            raise ContendedError("its messages are being delivered twice", where=self._where) from None

    def _write_apart(self, plans: Sequence[Plan], job: Job) -> list[ArintError | None]:
        """Each behind a savepoint: what fails takes no other with it, and all are one commit."""
        outcome: list[ArintError | None] = []
        try:
            with self.transaction(job) as connection:
                for plan in plans:
                    outcome.append(self._behind_savepoint(connection, plan))
        except SystemUnavailableError:
            raise
        except ArintError:  # the commit itself was refused, or a conflict ended the whole transaction
            raise Alone from None
        return outcome

    def _behind_savepoint(self, connection: Connection, plan: Plan) -> ArintError | None:
        try:
            with connection.begin_nested():
                self.claim(connection, [plan.key])
                self._do(connection, plan.tasks)
        except delivered.RepeatedError:
            return None
        except (SystemUnavailableError, ContendedError, LockedError, CancelledError):
            raise
        except ArintError as error:
            return error
        return None

    def claim(self, connection: Connection, keys: Sequence[str]) -> None:
        """Note in the transaction that these are done. Raises RepeatedError."""
        try:
            delivered.claim(connection, keys)
        except delivered.RepeatedError:
            raise
        except Exception as error:
            self._has_tables = False  # somebody may have dropped them
            raise translated(error, f"{self._where}, table {delivered.TABLES[0]}") from None

    def _do_grouped(self, connection: Connection, plans: Sequence[Plan]) -> None:
        """Messages of one same statement share it; what has several, has them one after the other."""
        alike: dict[Any, Task] = {}
        for plan in plans:
            first = plan.tasks[0]
            if len(plan.tasks) > 1 or not first.many:
                self._do(connection, plan.tasks)
            elif first.clause in alike:
                alike[first.clause].rows.extend(first.rows)
            else:
                alike[first.clause] = msgspec.structs.replace(first, rows=list(first.rows))
        self._do(connection, alike.values())

    def _do(self, connection: Connection, tasks: Sequence[Task] | Any) -> None:
        for task in tasks:
            if task.many and len(task.rows) > 1:
                self.run(connection, task.clause, task.rows, task.place)
            else:
                for bound in task.rows:
                    self.run(connection, task.clause, bound, task.place).close()

    def _answered(self, connection: Connection, plan: Plan, *, reads: bool = False) -> bytes | None:
        """Run the tasks; the JSON of the last one that gives rows, None where none does."""
        assert plan.answer is not None
        answer: bytes | None = None
        for task in plan.tasks:
            streamed = reads and only_reads(task.clause.text)
            for bound in task.rows:
                with self.run(connection, task.clause, bound, task.place, reads=reads,
                              stream_results=streamed) as result:
                    if result.returns_rows:
                        answer = self._answer(result, plan.answer, task.place)
        return answer

    def _answer(self, result: CursorResult[Any], wanted: Answer, place: str) -> bytes:
        if wanted.rows == "scalar":
            return self.scalar(result, f"{self._where}, {place}")
        found = self.fetch(result, wanted.limit if wanted.rows == "all" else 1, LARGEST_ANSWER, place)
        if wanted.rows == "all":
            return b"[" + b",".join(found) + b"]"
        return found[0] if found else b"null"

    def scalar(self, result: CursorResult[Any], where: str) -> bytes:
        """The one value as JSON; null where there is no row. Raises RejectedError for more than one."""
        found = result.fetchmany(2)
        if len(found) > 1 or len(result.keys()) != 1:
            raise RejectedError("a scalar is one column of one row, and the answer has more", where=where,
                                remedy="select one column, or say `rows: one` or `rows: all`")
        answer = rows.write(rows.plain(found[0][0], clock=self._clock)) if found else b"null"
        if len(answer) > LARGEST_ANSWER:
            raise RejectedError(f"the answer has more than {LARGEST_ANSWER} bytes", where=where)
        return answer

    def contended(self, job: Job, work: Callable[[], T]) -> T:
        """Again, after a moment, where another transaction was in the way."""
        for attempt in range(1, _TRIES):
            try:
                return work()
            except ContendedError:
                if job.ended:
                    raise
                time.sleep(_PAUSE * 2**attempt * random.random())  # noqa: S311 - no secret
        return work()

    def _open(self) -> Opened:
        with self._opening:
            if self._opened is None:
                opened = engine_for(self._url, self._spec, self._name)
                try:
                    self._set_up(opened)
                except BaseException:
                    opened.engine.dispose()
                    raise
                self._opened = opened
            return self._opened

    def _set_up(self, opened: Opened) -> None:
        if not self._spec.setup:
            return
        with opened.engine.begin() as connection:
            for number, statement in enumerate(self._spec.setup, 1):
                self.run(connection, parsed(statement), {}, f"setup {number}").close()

    def ensure_tables(self, job: Job) -> None:
        """ARINT's own tables, where something is to be written; who only reads needs none."""
        if self._has_tables:
            return
        with self._making_tables:
            if not self._has_tables:  # another thread may have made them in between
                self._make_tables(job)
                self._has_tables = True

    def _make_tables(self, job: Job) -> None:
        try:
            with self.transaction(job, place=f", table {delivered.TABLES[0]}") as connection:
                delivered.create(connection)
        except SystemUnavailableError:
            raise
        except ArintError as error:
            if self._are_tables_there(job):
                return
            error.remedy = "let its owner create arint_delivered and arint_answers: see the how-to page on SQL"
            raise

    def _are_tables_there(self, job: Job) -> bool:
        try:
            with self.transaction(job, reads=True) as connection:
                return delivered.are_there(connection)
        except ArintError:  # it may not even look
            return False

    def forget_old_keys(self, more: int) -> None:
        """Now and then, let go of keys that nobody will come with again; `more` have been added."""
        self._done += more
        if self._done >= _FORGET_EVERY:
            self._done = 0
            self._forget()

    def _forget(self) -> None:
        try:
            with self.transaction(Job(30.0)) as connection:
                delivered.forget(connection)
        except ArintError as error:  # no message's business
            _log.warning("old keys are still there: %s", error)
