"""The forms that data comes in. Light: each codec is imported when first used."""

from __future__ import annotations

from arint.plugins import FormatType, Plugin
from plugins.formats import specs
from plugins.formats.steps.format import FormatStep
from plugins.formats.steps.normalize import Normalize
from plugins.formats.steps.parse import Parse

plugin = Plugin(
    name="formats",
    summary="JSON, NDJSON, XML, CSV, TSV, fixed width, forms, multipart, text, bytes: read, written, normalized",
    steps=(Parse, FormatStep, Normalize),
    formats=(
        FormatType("json", specs.Json, "plugins.formats.jsons:JsonFormat", ("application/json", "text/json")),
        FormatType("ndjson", specs.Ndjson, "plugins.formats.jsons:NdjsonFormat",
                   ("application/x-ndjson", "application/jsonl", "application/json-lines")),
        FormatType("xml", specs.Xml, "plugins.formats.xmls:XmlFormat", ("application/xml", "text/xml")),
        FormatType("csv", specs.Csv, "plugins.formats.tables:CsvFormat", ("text/csv", "application/csv")),
        FormatType("tsv", specs.Tsv, "plugins.formats.tables:TsvFormat", ("text/tab-separated-values",)),
        FormatType("fixed", specs.Fixed, "plugins.formats.fixed:FixedFormat"),
        FormatType("form", specs.Form, "plugins.formats.forms:FormFormat", ("application/x-www-form-urlencoded",)),
        FormatType("multipart", specs.Multipart, "plugins.formats.multiparts:MultipartFormat",
                   ("multipart/form-data",)),
        FormatType("text", specs.Text, "plugins.formats.plain:TextFormat", ("text/plain",)),
        FormatType("bytes", specs.Bytes, "plugins.formats.plain:BytesFormat", ("application/octet-stream",)),
    ),
)
