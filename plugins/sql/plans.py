"""What is to be done for one message: its statements with their values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

import msgspec
from sqlalchemy import TextClause, text

from arint.plugins import Delivery
from plugins.sql.parameters import Source
from plugins.sql.specs import PerRow, SqlOptions
from plugins.sql.wording import MANY_ROWS, first_word, only_reads


class Task(msgspec.Struct, frozen=True):
    """One statement, and the values of each time that it is run."""

    clause: Any
    rows: list[dict[str, Any]]
    place: str
    many: bool


class Answer(msgspec.Struct, frozen=True):
    """What is to be read of the last statement that gives rows; `once` tells that it may change something."""

    rows: Literal["one", "all", "scalar"]
    limit: int
    once: bool


class Plan(msgspec.Struct, frozen=True):
    """One transaction. With an `answer` that is not `once` it only reads, and no key is kept."""

    key: str
    tasks: list[Task]
    answer: Answer | None = None

    @property
    def reads(self) -> bool:
        """Does it only read?"""
        return self.answer is not None and not self.answer.once


def plan_of(delivery: Delivery) -> Plan:
    """The plan for a delivery. Raises RejectedError where the message lacks what a statement needs."""
    options: SqlOptions = delivery.options
    source = Source(delivery.message, delivery.value)
    written = options.statement if isinstance(options.statement, list) else [
        options.statement if options.for_each is None else
        PerRow(statement=options.statement, for_each=options.for_each)]
    tasks = [_task(number, statement, options.params, source) for number, statement in enumerate(written, 1)]
    return Plan(delivery.idempotency_key, tasks, _answer(options))


def _answer(options: SqlOptions) -> Answer | None:
    if options.rows == "none":
        return None
    written = options.statement if isinstance(options.statement, list) else [options.statement]
    once = options.once
    if once is None:
        once = not all(isinstance(one, str) and only_reads(one) for one in written)
    return Answer(options.rows, options.limit, once)


def _task(number: int, written: str | PerRow, params: Mapping[str, str], source: Source) -> Task:
    statement, sources = written, [source]
    if isinstance(written, PerRow):
        statement, sources, params = written.statement, source.rows(written.for_each), {**params, **written.params}
    assert isinstance(statement, str)
    clause = parsed(statement)
    return Task(clause, [one.values(clause._bindparams, params) for one in sources], f"statement {number}",
                first_word(statement) in MANY_ROWS)


@lru_cache(maxsize=1024)
def parsed(statement: str) -> TextClause:
    """The statement with its named parameters found."""
    return text(statement)
