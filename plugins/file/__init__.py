"""Messages from and into folders. Light: what reads and writes is imported when first used."""

from __future__ import annotations

from arint.plugins import Plugin, Transport
from plugins.file.specs import FileChannel, FileConnection, FileOptions

plugin = Plugin(
    name="file",
    summary="Files: a folder of which each is taken once, whole or record by record; and a folder that they are put in",
    transports=(
        Transport(
            name="file",
            channel=FileChannel,
            connection=FileConnection,
            options=FileOptions,
            source="plugins.file.source:FileSource",
            sink="plugins.file.sink:FileSink",
            mode="singleton",
        ),
    ),
)
