"""Messages into databases. Light: SQLAlchemy and the driver are imported when first used."""

from __future__ import annotations

from arint.plugins import Plugin, Transport
from plugins.sql.specs import SqlConnection, SqlOptions

plugin = Plugin(
    name="sql",
    summary="SQL: statements with named parameters in one transaction, done once a message",
    transports=(
        Transport(name="sql", connection=SqlConnection, options=SqlOptions, sink="plugins.sql.sink:SqlSink"),
    ),
)
