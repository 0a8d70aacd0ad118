"""The drill: a cluster under load while its processes are killed in turn; then the judge.

    python -m tests.chaos.drill --messages 200000
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from arint.ports import free_port
from tests.chaos.checker import Verdict, arrivals, judge
from tests.chaos.faults import Faults
from tests.chaos.load import send_all

MANIFEST = Path(__file__).parent / "manifest"
DEATHS = 3.0
"""Workers also die between a stage's store and its record, and between that and its ack: about so often a stage."""


class Report(NamedTuple):
    """What a drill found."""

    verdict: Verdict
    accepted: int
    seconds: float
    killed: dict[str, int]
    troubles: list[str]

    @property
    def line(self) -> str:
        """One line for people."""
        kills = ", ".join(f"{name} {times}" for name, times in sorted(self.killed.items()))
        return (f"{self.accepted} accepted, {len(self.verdict.lost)} lost, {len(self.verdict.twice)} twice, "
                f"{len(self.verdict.unknown)} unknown, {sum(self.killed.values())} kills ({kills}) "
                f"in {self.seconds:.0f} s")


def drill(home: Path, messages: int, *, interval: float, patience: float) -> Report:
    """Run the drill in this home (made, and left stopped). `patience`: seconds for the last message to arrive."""
    arintctl = str(Path(sys.executable).with_name("arintctl"))
    key = secrets.token_hex(16)
    chance = DEATHS / messages
    env = {**os.environ, "CHAOS_KEY": key, "ARINT_FAILPOINTS": f"stored={chance},recorded={chance}",
           "XDG_CONFIG_HOME": str(home.parent / "config")}

    def run(*words: str) -> str:
        done = subprocess.run([arintctl, "--home", str(home), *words], env=env, check=False, capture_output=True,
                              text=True, timeout=180)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run("up", "--http-port", str(free_port()))
    try:
        run("apply", str(MANIFEST))
        channel: dict[str, Any] = msgspec.json.decode(run("get", "channel/chaos-in", "-o", "json"))
        channel = channel[0] if isinstance(channel, list) else channel
        faults = Faults(home, arintctl, env, interval=interval)
        began = time.monotonic()
        faults.start()
        try:
            accepted = asyncio.run(send_all(channel["status"]["url"], key, messages, at_once=32,
                                            run=secrets.token_hex(4)))
        finally:
            faults.stop()
        database = home / "data" / "chaos.db"
        deadline = time.monotonic() + patience
        while set(arrivals(database)) < set(accepted) and time.monotonic() < deadline:
            time.sleep(0.5)
        return Report(judge(accepted, database), len(accepted), time.monotonic() - began, dict(faults.killed),
                      faults.troubles)
    finally:
        run("down")


def main() -> None:
    """The drill from the command line; leaves with 1 if anything was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--interval", type=float, default=2.0)
    parser.add_argument("--patience", type=float, default=120.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="arint-drill-") as folder:
        report = drill(Path(folder) / "home", arguments.messages, interval=arguments.interval,
                       patience=arguments.patience)
    print(report.line)
    for trouble in report.troubles:
        print(trouble)
    raise SystemExit(0 if report.verdict.clean else 1)


if __name__ == "__main__":
    main()
