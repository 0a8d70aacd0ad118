"""Messages into databases, and out of them. Light: SQLAlchemy and the drivers are imported when first used."""

from __future__ import annotations

from arint.plugins import Plugin, Transport
from plugins.sql.api.specs import ApiQuery
from plugins.sql.specs import SqlChannel, SqlConnection, SqlOptions
from plugins.sql.steps import Query

plugin = Plugin(
    name="sql",
    summary="SQL: statements in one transaction, done once a message; queries; rows that become messages",
    transports=(
        Transport(name="sql", channel=SqlChannel, connection=SqlConnection, options=SqlOptions,
                  source="plugins.sql.source:SqlSource", sink="plugins.sql.sink:SqlSink", mode="singleton",
                  queries=ApiQuery, api="plugins.sql.api.describe:SqlApi"),
    ),
    steps=(Query,),
)
