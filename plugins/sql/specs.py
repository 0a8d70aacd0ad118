"""What a user writes under `sql:` in a connection, and beside a `send` step's `to`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from arint.resources.kinds import Duration, SecretReference

Statement = Annotated[str, msgspec.Meta(min_length=1, description="one SQL statement; values only as :name")]
ParameterName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class SqlConnection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A database. `setup` is run each time the connection is opened, so it says `if not exists`."""

    url: Annotated[str, msgspec.Meta(pattern=r"^([a-z][a-z0-9_+.]*:|\$\{)[^\s]*$",
                                     description="an SQLAlchemy URL, such as sqlite:///${ARINT_DATA}/orders.db")]
    password: SecretReference | None = None
    setup: list[Statement] = []
    timeout: Annotated[Duration, msgspec.Meta(description="how long to wait for a lock, or for a connection")] = "5s"


class SqlOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a `send` step says besides `to`: the statement, or several that are one transaction.

    `:name` is filled with the body's field of that name, or with what `params` names for it: a dotted path such as
    `body.customer.email`, `headers.x-source`, `vars.total` or `message.id`.
    """

    statement: Statement | Annotated[list[Statement], msgspec.Meta(min_length=1)]
    params: dict[ParameterName, str] = {}
