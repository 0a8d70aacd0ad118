"""The format of the page about plugins, installed beside the built-in ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from arint import formats, plugins
from arint.errors import RejectedError
from arint.flows.check import check_steps
from arint.resources.kinds import Flow
from arint.testing import FlowTest
from tests.docs.test_documented import ROOT, blocks


@pytest.fixture
def vcard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for _, name, text in blocks(ROOT / "docs/how-to/write-a-plugin.md"):
        if name.startswith("arint_vcard/"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    from arint_vcard import plugin  # type: ignore[import-not-found]

    whole = {**plugins.installed(), "vcard": plugin}
    monkeypatch.setattr(plugins, "installed", lambda: whole)
    caches = (plugins.formats, formats._choice, formats.name_or_choice)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()
    for name in ("arint_vcard", "arint_vcard.cards"):
        sys.modules.pop(name, None)


CARDS = b"BEGIN:VCARD\r\nFN:Ada\r\nEND:VCARD\r\nBEGIN:VCARD\r\nFN:Bob\r\nEND:VCARD\r\n"


@pytest.mark.usefixtures("vcard")
def test_it_is_read_and_written() -> None:
    flow = Flow(name="f", steps=[{"parse": "auto"}, {"format": {"as": "vcard"}}, {"send": {"to": "connection/x"}}])
    [sent] = FlowTest(flow).run(CARDS, content_type="text/vcard").sent_to("connection/x")
    assert sent.message.body == CARDS
    with pytest.raises(RejectedError, match="line 1"):
        formats.opened("vcard").parse(b"nothing")
    [problem] = check_steps([{"parse": {"format": "vcard", "encodng": "x"}}])
    assert 'did you mean "encoding"' in problem.suggestion
