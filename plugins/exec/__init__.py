"""Programs of this machine as connections: a flow gives one a message, and may go on with what it prints."""

from __future__ import annotations

from arint.plugins import Plugin, Transport
from plugins.exec.specs import ExecConnection, ExecOptions

plugin = Plugin(
    name="exec",
    summary="Programs: a declared program is run for a message, without a shell, within limits",
    transports=(
        Transport(name="exec", connection=ExecConnection, options=ExecOptions, sink="plugins.exec.sink:ExecSink"),
    ),
)
