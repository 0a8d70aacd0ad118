"""The page about programs, done."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from arint.message import Message
from arint.plugins import Delivery, SinkContext
from arint.resources.kinds import Connection
from arint.resources.manifests import Text, load_text
from arint.runtime.sinks import options_of
from arint.testing import FlowTest, Sent
from plugins.exec.sink import ExecSink
from plugins.exec.specs import ExecConnection
from tests.docs.test_documented import ROOT, blocks

[PAGE] = [text for _, name, text in blocks(ROOT / "docs/how-to/run-a-program.md") if name == "programs/programs.yaml"]


async def test_the_flow_with_its_programs(tmp_path: Path) -> None:
    declared = [one.resource for one in load_text(Text("page.yaml", PAGE, tmp_path))]
    sinks = {one.name: ExecSink(SinkContext(one.name, msgspec.convert(one.spec, ExecConnection), {}, ""))
             for one in declared if isinstance(one, Connection)}

    async def run(sent: Sent) -> bytes | None:
        sink = sinks[sent.target.partition("/")[2]]
        return await sink.send(Delivery(sent.message, None, options_of("exec", sent.options), "key"))

    manifest = tmp_path / "programs.yaml"
    manifest.write_text(PAGE)
    test = FlowTest(manifest, connections=dict.fromkeys(sinks, run))
    given = Message.new(b'{"id":"A1","customer":"Ann; rm -rf /"}')
    done = await test.run_async(given)
    assert done.failure is None
    assert done.value["greeting"] == "Order A1 of Ann; rm -rf /"
    assert done.value["sum"].split()[0] == hashlib.sha256(given.body).hexdigest()
