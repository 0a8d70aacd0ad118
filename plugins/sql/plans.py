"""What is to be done for one message: its statements with their values. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import TextClause, text

from arint.plugins import Delivery
from plugins.sql.parameters import Source
from plugins.sql.specs import Answer, PerRow, SqlOptions

_COMMENTS = re.compile(r"\A(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/|\()+", re.DOTALL)
_CHANGES = re.compile(r"\b(insert|update|delete|merge|replace|call|into)\b", re.IGNORECASE)
_READING = frozenset({"select", "values", "table", "show", "explain", "describe", "pragma", "with"})
MANY_ROWS = frozenset({"insert", "update", "delete", "replace", "merge"})
"""What drivers can do for many rows in one go."""


class Task(msgspec.Struct, frozen=True):
    """One statement, and the values of each time that it is run."""

    clause: Any
    rows: list[dict[str, Any]]
    place: str
    many: bool


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
    return Plan(delivery.idempotency_key, tasks, options.answer)


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


@lru_cache(maxsize=1024)
def first_word(statement: str) -> str:
    """The first word after comments and brackets, in lower case."""
    bare = _COMMENTS.sub("", statement)
    found = re.match(r"[A-Za-z]+", bare)
    return found[0].lower() if found else ""


@lru_cache(maxsize=1024)
def only_reads(statement: str) -> bool:
    """Does it look as if it changed nothing? The database is told so too, and refuses what does."""
    word = first_word(statement)
    return word in _READING and not (word == "with" and _CHANGES.search(statement))
