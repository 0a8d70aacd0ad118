"""The page on testing a flow, done as it says: recorded, checked, and its tests run under pytest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from arint.testing import Recording
from tests.docs.test_documented import ROOT, written_files

PAGE = ROOT / "docs/how-to/test-a-flow.md"
SAMPLE = "reminders/samples/first.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    written_files(PAGE, tmp_path)
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ARINT")}
    return subprocess.run([sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, check=False,
                          timeout=100, env={**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                                            "ARINT_HOME": str(folder / "none")})


def flow_test(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "arintctl", "flow", "test", "reminders", SAMPLE, "-f", "reminders", *more)


def test_the_page_does_what_it_says(folder: Path) -> None:
    done = flow_test(folder, "--record")
    assert done.returncode == 0 and "written; the message is done" in done.stdout, done.stderr
    file = folder / f"{SAMPLE}.expected.yaml"
    assert "s3cret" not in file.read_text()
    assert Recording.load(file).expect["sent"] == [
        {"connection/partner": {"invoice": "R-7", "due": "2026-01-15", "token": "***"}}]
    assert "as it was recorded" in flow_test(folder, "--check").stdout
    pytest_of_page = ("pytest", "-q", "-p", "arint.pytest_plugin", "-p", "no:cacheprovider")
    assert "no snapshot yet" in run(folder, *pytest_of_page).stdout
    assert run(folder, *pytest_of_page, "--arint-update").returncode == 0
    assert (folder / "snapshots/test_reminders/test_what_the_partner_is_sent.yaml").exists()
    assert run(folder, *pytest_of_page).returncode == 0


def test_a_change_is_told_as_a_diff(folder: Path) -> None:
    flow_test(folder, "--record")
    code = folder / "reminders/due.py"
    code.write_text(code.read_text().replace("days=14", "days=7"))
    done = flow_test(folder, "--check")
    assert done.returncode == 1
    assert "-    due: '2026-01-15'" in done.stdout and "+    due: '2026-01-08'" in done.stdout
    assert "not what was recorded" in done.stderr
    assert json.loads(flow_test(folder, "--check", "-o", "json").stdout)["difference"]
    assert "written" in flow_test(folder, "--record").stdout
    assert "unchanged" in flow_test(folder, "--record").stdout
    assert flow_test(folder, "--check").returncode == 0


def test_what_cannot_be_recorded_or_checked_is_told(folder: Path) -> None:
    assert "--record" in flow_test(folder, "--check").stderr
    done = run(folder, "arintctl", "flow", "test", "reminders", "-", "-f", "reminders", "--record")
    assert done.returncode == 2 and "stdin" in done.stderr
    (folder / f"{SAMPLE}.expected.yaml").write_text("flow: [\n")
    assert flow_test(folder, "--check").returncode == 8
