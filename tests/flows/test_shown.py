"""What a `log` step writes holds no secrets, whatever its text speaks of."""

from __future__ import annotations

import pytest

from arint.testing import FlowTest

BODY = {"id": 7, "card": {"number": "4111", "kind": "visa"}, "password": "hunter2", "list": [{"pin": "0000"}],
        "note": "fine", "bank": {"iban": "RO1"}}


@pytest.mark.parametrize(("text", "written"), [
    ("{{ body.id }} {{ body.note }}", "7 fine"),
    ("{{ body.password }}", "***"),
    ("{{ body.card.number }} {{ body.card.kind }}", "*** visa"),
    ("{{ body.bank }}", '{"iban":"***"}'),
    ("{{ body['password'] }}", "***"),
    ("{{ body.note + body.password }}", "fine***"),
    ("{{ body.list.map(x, x.pin) }}", '["***"]'),
    ("{{ headers['x-key'] }} {{ headers.authorization }}", "*** ***"),
    ("{{ message.flow }}", "f"),
])
def test_a_line_is_written_with_masks(tmp_path, text: str, written: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "f.yaml").write_text(
        f"kind: Flow\nname: f\nmask: [body.card.number, body.bank.iban, headers.x-key]\nsteps:\n  - log: \"{text}\"\n")
    run = FlowTest(tmp_path).run(BODY, headers={"x-key": "k", "authorization": "Bearer t"})
    assert run.failure is None
    assert [line for _, line in run.logs] == [written]
    assert run.value["password"] == "hunter2"
