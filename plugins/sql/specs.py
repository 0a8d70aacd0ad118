"""What a user writes under `sql:` in a connection and in a channel, beside a `send` step's `to`, and in `query`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from arint.resources.kinds import Duration, SecretReference

DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql",
           "mariadb": "mariadb+pymysql"}
"""The databases that come with their driver. Others work if their SQLAlchemy dialect is installed on every node."""
MOST_ROWS = 100_000
LARGEST_ANSWER = 512 * 2**10
"""Bytes of the JSON that a `query` step may bring into a message."""

Statement = Annotated[str, msgspec.Meta(min_length=1, description="one SQL statement; values only as :name")]
ParameterName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Column = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=63,
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
    `body.customer.email`, `headers.x-source`, `vars.total` or `message.id`. With `for_each` the statement is run for
    each row of that list; `:name` is then the row's field, `row.NAME` in `params` too, and `index` the row's number
    from 0.
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
