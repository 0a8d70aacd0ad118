"""What `dev` writes: aligned, wrapped where it is narrow, plain where nobody looks."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from arint.actions import Action
from arint.operations import developing as dev
from arint.operations.addresses import Address
from arint.operations.developing import is_saved, syntax_errors
from arint.resources.diff import Change, FieldChange
from arint.runtime.tracebacks import user_line
from arintctl import layout
from arintctl.stream import Stream

FAILED = Action(root="r", message="01M", flow="orders", stage="1-call-price", attempt=2, at=1.0, took=0.002,
                outcome="failed", error="no\nKeyError: 'qty'", error_kind="KeyError", error_at="price.py:31")
EVENTS: list[dev.Event] = [
    dev.Watching("/w"), dev.Saved(tuple(f"{n}.py" for n in range(7))),
    dev.Changed(3, (Change("Service", "price", "changed", (FieldChange("code", "a", "b"),)),
                    Change("Flow", "orders", "added")), 0.05),
    dev.Reachable((Address("in", "http://h/o", "curl -i http://h/o --json '{}'"),)),
    dev.Serving(3, 0.6), dev.Refused(("a.yaml:1:2: wrong",)), dev.Broken(3, "Traceback\n  File x\nE: y"),
    dev.Printed("price-1", "2026-11-24 10:36:56,461 INFO hello"),
    dev.Printed("price-1", "2026-11-24 10:36:56,461 WARNING \x1b[2Jhello"), dev.Passed(FAILED)]


def written(monkeypatch: pytest.MonkeyPatch, width: int | None = None, **how: object) -> list[str]:
    monkeypatch.setattr(layout, "width", lambda: width)
    out = io.StringIO()
    stream = Stream(out, **how)  # type: ignore[arg-type]
    for event in EVENTS:
        stream.tell(event)
    return out.getvalue().splitlines()


def test_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line[10:] for line in written(monkeypatch)]
    assert lines == [
        "watching  /w; Ctrl-C ends it, and leaves everything as it is applied",
        "saved     0.py, 1.py, 2.py, 3.py, 4.py and 2 more",
        "applied   ~service/price +flow/orders (change set 3, 50ms)",
        "channel   in: curl -i http://h/o --json '{}'",
        "serving   change set 3, 600ms after the save",
        "error     a.yaml:1:2: wrong",
        "error     nothing was applied; what ran before goes on",
        "error     Traceback", "error       File x", "error     E: y",
        "error     it takes no message; the version before goes on",
        "price-1   hello", "price-1   WARNING \\x1b[2Jhello",
        "failed    01M orders.1-call-price #2 2ms  KeyError: KeyError: 'qty' at price.py:31"]


def test_coloured_lines_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import re

    coloured = written(monkeypatch, coloured=True)
    assert all("\x1b[" in line for line in coloured)
    assert [re.sub(r"\x1b\[\d+m", "", line)[10:] for line in coloured] == [
        line[10:] for line in written(monkeypatch)]


def test_lines_fit_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = written(monkeypatch, 60)
    assert all(len(line) <= 60 for line in lines)
    assert len(lines) > len(written(monkeypatch))


def test_json_lines_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [json.loads(line) for line in written(monkeypatch, form="json")]
    assert [one["event"] for one in events] == [
        "watching", "saved", "changed", "reachable", "serving", "refused", "broken", "printed", "printed", "passed"]
    assert events[-1]["record"]["error_at"] == "price.py:31"
    assert all(one["at"] > 0 for one in events)


@pytest.mark.parametrize(("name", "saved"), [
    ("price.py", True), ("a/b.yaml", True), ("data.json", True), (".git/index", False), ("__pycache__/x.pyc", False),
    ("price.py~", False), (".price.py.swp", False), ("4913", False), ("warehouse.db-wal", False), ("venv/x.py", False),
    ("tests/test_x.py", False), ("wheelhouse/x.whl", True),
])
def test_what_counts_as_saved(name: str, saved: bool) -> None:
    assert is_saved(Path("/w") / name, Path("/w")) is saved


def test_syntax_errors_have_their_place(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text("x = 1\n")
    (tmp_path / "bad.py").write_text("x = 1\ndef f(:\n")
    (tmp_path / "nul.py").write_bytes(b"x = '\0'\n")
    (tmp_path / ".hidden.py").write_text("(")
    bad, nul = syntax_errors(tmp_path)
    assert bad.startswith(f"{tmp_path / 'bad.py'}:2:7: ")
    assert nul.startswith(f"{tmp_path / 'nul.py'}")


def test_the_innermost_line_of_shipped_code() -> None:
    digest = "ab" * 32
    trace = (f'File "/h/artifacts/{digest}/a/price.py", line 3, in f\n  File "/usr/x.py", line 9, in g\n'
             f'  File "/h/artifacts/{digest}/a/tools.py", line 7, in h\n  File "/usr/y.py", line 1, in i\n')
    assert user_line(trace) == "a/tools.py:7"
    assert user_line('File "/usr/y.py", line 1') == ""
