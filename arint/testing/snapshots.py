"""Snapshots: what came of a flow or service, kept in a file beside the test, and compared with from then on."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml

from arint.testing.compare import as_yaml, body_of, difference
from arint.testing.masking import masked
from arint.testing.recording import outcome
from arint.testing.results import FlowRun, ServiceResult

UPDATE = "ARINT_UPDATE"
"""The environment variable that, set, has snapshots written anew; `pytest --arint-update` sets it."""


def assert_snapshot(value: Any, name: str = "", *, folder: str | Path | None = None) -> None:
    """Is it what it was? `value` is a FlowRun, a ServiceResult, or plain data.

    The file is `snapshots/TEST.yaml` beside the test (with `name`: `TEST.NAME.yaml`), or in `folder`. Raises
    AssertionError with a diff, or where there is no snapshot yet; `pytest --arint-update` writes it.
    """
    file = _file(name, folder)
    told = masked(_plain(value))
    if os.environ.get(UPDATE):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(as_yaml(told), encoding="utf-8")
        return
    if not file.exists():
        raise AssertionError(f"there is no snapshot yet: {file}\nlook at it, then write it: pytest --arint-update\n\n"
                             f"{as_yaml(told)}")
    found = difference(yaml.safe_load(file.read_text(encoding="utf-8")), yaml.safe_load(as_yaml(told)),
                       expected_name=str(file))
    if found:
        raise AssertionError(f"it is not what it was; if that is right: pytest --arint-update\n{found}")


def _plain(value: Any) -> Any:
    if isinstance(value, FlowRun):
        told = outcome(value)
        del told["steps"]
        return {"body": body_of(value.message), **told}
    if isinstance(value, ServiceResult):
        return {"body": body_of(value.message), "sent": [{sent.target: body_of(sent.message)} for sent in value.sent]}
    return value


def _file(name: str, folder: str | Path | None) -> Path:
    """As pytest names the test that runs."""
    running = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    module, _, test = running.partition("::")
    if folder is None and not module:
        raise AssertionError("assert_snapshot is for tests under pytest; elsewhere say folder=…")
    words = [re.sub(r"[^\w.-]+", "-", word).strip("-") for word in (test, name) if word]
    if not words:
        raise AssertionError("a snapshot needs a name")
    where = Path(folder) if folder is not None else Path(os.environ.get("ARINT_ROOTDIR", ".")) / Path(
        module).parent / "snapshots" / Path(module).stem
    return where / f"{'.'.join(words)}.yaml"
