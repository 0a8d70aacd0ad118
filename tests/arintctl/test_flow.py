"""`flow test` with the example that ships: no server, no agent, real services."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ORDERS = ROOT / "examples" / "orders"


def flow_test(sample: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "arintctl", "flow", "test", "orders",
                           str(ORDERS / "samples" / sample), "-f", str(ORDERS), *words],
                          capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)


def test_the_message_after_each_step() -> None:
    done = flow_test("03-large.json", "-o", "json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["state"] == "done"
    assert [step["step"].split()[0] for step in result["steps"]][:3] == ["0-validate", "1-call", "2t0-call"]
    assert [one["target"] for one in result["deliveries"]][:2] == ["connection/warehouse", "connection/partner"]
    assert json.loads(result["deliveries"][0]["body"])["approved_by"]


def test_an_answer_stands_for_a_service(tmp_path: Path) -> None:
    answer = tmp_path / "priced.json"
    answer.write_text('{"id": "X", "total": 1.0, "customer": "c", "lines": []}')
    result = json.loads(flow_test("03-large.json", "-o", "json", "--answer", f"service/price={answer}").stdout)
    assert "2t0-call" not in [step["step"].split()[0] for step in result["steps"]]


def test_what_would_die_says_why() -> None:
    done = flow_test("09-invalid.json")
    assert done.returncode == 1
    assert "rejected" in done.stderr
    assert "orders.0-validate" in done.stderr
    assert "flow orders: dead" in done.stdout
