"""Messages in and out over HTTP. Light: the server and the client are imported when first used."""

from __future__ import annotations

from arint.plugins import Plugin, Transport
from plugins.http.specs import HttpChannel, HttpConnection, HttpOptions

plugin = Plugin(
    name="http",
    summary="HTTP: channels that answer 202 once stored, or with the outcome; a pooled client for other systems",
    transports=(
        Transport(
            name="http",
            channel=HttpChannel,
            connection=HttpConnection,
            options=HttpOptions,
            source="plugins.http.listener:HttpSource",
            sink="plugins.http.sink:HttpSink",
            guide="plugins.http.guide:HttpGuide",
            immediate=True,
        ),
    ),
)
