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


def test_several_answers_of_one_target_come_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "asks.yaml").write_text(
        "kind: Connection\nname: crm\nhttp: {url: 'http://127.0.0.1:1/'}\n---\nkind: Flow\nname: asks\nsteps:\n"
        + "".join(f"  - send: {{to: connection/crm, into: vars.a{number}}}\n" for number in range(3)))
    words = []
    for number in (1, 2):
        (tmp_path / f"{number}.json").write_text(str(number))
        words += ["--answer", f"connection/crm={tmp_path / f'{number}.json'}"]
    (tmp_path / "sample.json").write_text("{}")
    done = subprocess.run([sys.executable, "-m", "arintctl", "flow", "test", "asks", str(tmp_path / "sample.json"),
                           "-f", str(tmp_path / "asks.yaml"), "-o", "json", *words], capture_output=True, text=True,
                          timeout=60, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"][-1]["variables"] == {"a0": 1, "a1": 2, "a2": 2}
    command = [sys.executable, "-m", "arintctl", "flow", "test", "asks", str(tmp_path / "sample.json"), "-f",
               str(tmp_path / "asks.yaml")]
    for further in (["--record", *words], ["--check"]):  # a recording keeps them all
        kept = subprocess.run([*command, *further], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
        assert kept.returncode == 0, kept.stdout + kept.stderr


def test_what_would_die_says_why() -> None:
    done = flow_test("09-invalid.json")
    assert done.returncode == 1
    assert "rejected" in done.stderr
    assert "flow/orders: steps[0].validate" in done.stderr
    assert "flow orders: dead" in done.stdout


def test_what_a_flow_sends_to_other_flows_and_services_is_followed(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(
        "kind: Service\nname: twice\nsource: code.py:twice\n---\n"
        "kind: Connection\nname: out\nhttp: {url: 'http://127.0.0.1:1/'}\n---\n"
        "kind: Flow\nname: first\nsteps:\n  - send: {to: flow/second}\n  - send: {to: service/twice}\n---\n"
        "kind: Flow\nname: second\nsteps:\n  - set: {body.n: body.n + 1}\n  - send: {to: connection/out}\n")
    (tmp_path / "code.py").write_text("def twice(x: dict) -> dict:\n    return {'n': x['n'] * 2}\n")
    (tmp_path / "sample.json").write_text('{"n": 20}')
    done = subprocess.run([sys.executable, "-m", "arintctl", "flow", "test", "first", str(tmp_path / "sample.json"),
                           "-f", str(tmp_path / "all.yaml"), "-o", "json"], capture_output=True, text=True, timeout=60,
                          cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [one["target"] for one in result["deliveries"]] == ["connection/out"]
    assert json.loads(result["deliveries"][0]["body"]) == {"n": 21}
    assert {step["flow"] for step in result["steps"]} == {"first", "second", "service=twice"}
    assert json.loads(result["steps"][-1]["body"])["n"] in (21, 40)
