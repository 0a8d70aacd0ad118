"""What a user writes under `sql:` in a connection and in a channel, beside a `send` step's `to`, and in `query`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from arint.resources.kinds import Duration, SecretReference
from plugins.sql.wording import only_reads, parameters_of

DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql",
           "mariadb": "mariadb+pymysql"}
"""The databases that come with their driver. Others work if their SQLAlchemy dialect is installed on every node."""
MOST_ROWS = 100_000
LARGEST_ANSWER = 512 * 2**10
"""Bytes of the JSON that a `query` step may bring into a message."""

Statement = Annotated[str, msgspec.Meta(min_length=1, description="one SQL statement; values only as :name")]
ParameterName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
COLUMN = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"
_MOST_KEYS = 8
Column = Annotated[str, msgspec.Meta(pattern=COLUMN,
                                     description="a column's name in the answer; letters, digits, _")]
DottedPath = Annotated[str, msgspec.Meta(pattern=r"^[^.\s]+(\.[^.\s]+)*$",
                                         description="a dotted path into the message, such as body.lines")]
Rows = Literal["none", "one", "all", "scalar"]
Limit = Annotated[int, msgspec.Meta(ge=1, le=MOST_ROWS)]
From = Annotated[str, msgspec.Meta(pattern=r"^connection/[a-z0-9.-]+$", description="connection/NAME")]


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """TLS to the database. Files are PEM, on every node that runs it."""

    verify: Annotated[Literal["full", "ca", "none"], msgspec.Meta(
        description="full: CA and host name; ca: the CA only; none: encrypted to whoever answers")] = "full"
    ca: Annotated[str, msgspec.Meta(description="the CA to trust instead of the public ones")] = ""
    certificate: Annotated[str, msgspec.Meta(description="this client's certificate")] = ""
    key: Annotated[str, msgspec.Meta(description="its private key; readable by ARINT's user only")] = ""


class SqlConnection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A database. `setup` is run each time the connection is opened, so it says `if not exists`."""

    url: Annotated[str, msgspec.Meta(
        pattern=r"^([a-z][a-z0-9_+.]*:|\$\{)[^\s]*$",
        description="sqlite:///FILE, postgresql://USER@HOST/DATABASE or mariadb://USER@HOST/DATABASE")]
    password: SecretReference | None = None
    tls: Tls | None = None
    setup: list[Statement] = []
    timeout: Annotated[Duration, msgspec.Meta(description="how long to wait for a lock, or for a connection")] = "5s"
    connections: Annotated[int, msgspec.Meta(ge=1, le=100, description="open at once, in one process")] = 8
    isolation: Annotated[Literal["", "read committed", "repeatable read", "serializable"], msgspec.Meta(
        description="of transactions; the database's own where empty")] = ""

    def __post_init__(self) -> None:
        if self.url.startswith("postgres:"):
            raise ValueError("url: it begins with postgresql: and not with postgres:")
        if self.tls is not None and self.url.startswith("sqlite:"):
            raise ValueError("tls: SQLite is a file, not a server")
        if self.tls is not None and bool(self.tls.certificate) != bool(self.tls.key):
            raise ValueError("tls: certificate and key belong together")


class PerRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A statement that is run for each row of a list in the message, such as an order's lines."""

    statement: Statement
    for_each: DottedPath
    params: dict[ParameterName, DottedPath] = {}


class SqlOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a `send` step says besides `to`: the statement, or several that are one transaction.

    `:name` is filled with the body's field of that name, or with what `params` names for it: a dotted path such as
    `body.customer.email`, `headers.x-source`, `vars.total` or `message.id`. A list or an object is given as JSON text,
    which the database can take apart. With `for_each` the statement is run for each row of that list; `:name` is then
    the row's field, `row.NAME` in `params` too, and `index` the row's number from 0.
    """

    statement: Statement | Annotated[list[Statement | PerRow], msgspec.Meta(min_length=1)]
    params: dict[ParameterName, DottedPath] = {}
    for_each: DottedPath | None = None
    timeout: Annotated[Duration | None, msgspec.Meta(description="of the whole transaction; 30s if it is not said")] = (
        None)
    rows: Annotated[Rows, msgspec.Meta(
        description="what is answered, of the last statement that gives rows: all, one object or null, the one value")
    ] = "none"
    limit: Annotated[Limit, msgspec.Meta(description="rows of an answer; more are an error, not cut off")] = 1000
    once: Annotated[bool | None, msgspec.Meta(
        description="it changes something: done once a message, the answer kept; taken from the words if not said")
    ] = None

    def __post_init__(self) -> None:
        if self.for_each is not None and not isinstance(self.statement, str):
            raise ValueError("for_each: of several statements, each says it for itself: "
                             "{for_each: body.lines, statement: …}")


class QuerySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a flow asks a database. What does not only read says so by its words, or by `once: true`."""

    source: Annotated[From, msgspec.Meta(description="connection/NAME of a database")] = msgspec.field(name="from")
    statement: Statement | Annotated[list[Statement], msgspec.Meta(min_length=1)]
    params: dict[ParameterName, DottedPath] = {}
    into: Annotated[str, msgspec.Meta(pattern=r"^(body|(body|vars)(\.[^.\s]+)+)$",
                                      description="body, body.NAME or vars.NAME")] = "body"
    rows: Annotated[Literal["one", "all", "scalar"], msgspec.Meta(
        description="all: a list; one: an object, or null; scalar: the one value, or null")] = "all"
    limit: Annotated[Limit, msgspec.Meta(description="of rows; more are an error, not cut off")] = 1000
    once: Annotated[bool | None, msgspec.Meta(
        description="it changes something: done once a message, the answer kept; taken from the words if not said")
    ] = None
    timeout: Duration | None = None


class SqlChannel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A table that is polled: each row becomes one message, whose body is the row as JSON.

    `by: key` for rows that are only added: those behind the greatest `key` so far. `by: time` for rows that change:
    those whose `time` is later than the latest so far; a changed row is a message of its own. `by: flag` for a table
    that says itself what is to be taken: `taken` is run for each row, in the transaction in which it was read, once
    its message is stored. In `taken`, `:name` is the row's column.
    """

    source: Annotated[From, msgspec.Meta(description="connection/NAME of a database")] = msgspec.field(name="from")
    query: Annotated[Statement, msgspec.Meta(description="a select, without order by, limit and parameters")]
    by: Literal["key", "time", "flag"]
    key: Annotated[str | list[str], msgspec.Meta(description="the column, or columns, by which a row is known")]
    time: Annotated[Column, msgspec.Meta(description="by time: the column that says when a row changed")] = ""
    taken: Annotated[str, msgspec.Meta(description="by flag: what marks a row as taken")] = ""
    every: Annotated[Duration, msgspec.Meta(description="how often it is looked, where nothing waits")] = "1s"
    overlap: Annotated[Duration, msgspec.Meta(
        description="how long is waited for rows that were begun earlier and are committed later")] = "10s"
    batch: Annotated[int, msgspec.Meta(ge=1, le=5000, description="rows taken at once")] = 500
    start: Annotated[Literal["beginning", "now"], msgspec.Meta(
        description="with the rows that are there already, or with those that come")] = "beginning"
    timeout: Annotated[Duration, msgspec.Meta(description="of one query")] = "30s"

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns by which a row is known."""
        return (self.key,) if isinstance(self.key, str) else tuple(self.key)

    @property
    def order(self) -> tuple[str, ...]:
        """The columns in whose order rows are taken."""
        return (self.time, *self.keys) if self.by == "time" else self.keys

    def __post_init__(self) -> None:
        _check_channel(self)


def _check_channel(spec: SqlChannel) -> None:
    """What the fields say of each other. Raises ValueError."""
    # msgspec 0.22 crashes on a union of text with a pattern and a list
    wrong = next((column for column in spec.keys if not re.fullmatch(COLUMN, column)), None)
    if wrong is not None or not 1 <= len(spec.keys) <= _MOST_KEYS:
        raise ValueError(f"key: a column's name, or up to {_MOST_KEYS} of them: letters, digits, _")
    if bool(spec.time) != (spec.by == "time"):
        raise ValueError("time: it belongs to `by: time`, which needs it")
    if bool(spec.taken) != (spec.by == "flag"):
        raise ValueError("taken: it belongs to `by: flag`, which needs it")
    if spec.by == "key" and len(spec.keys) > 1:
        raise ValueError("key: `by: key` goes by one column; several are for `by: time` and `by: flag`")
    if spec.query.rstrip().endswith(";"):
        raise ValueError("query: without a semicolon at its end")
    if not only_reads(spec.query):
        raise ValueError("query: it must be a select")
    if parameters_of(spec.query):
        raise ValueError(f"query: there is nothing that :{parameters_of(spec.query)[0]} could be filled with")
