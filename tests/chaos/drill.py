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
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from arint.ports import free_port
from tests.chaos.checker import Verdict, judge, outcome
from tests.chaos.ending import ended_by_signals, undisturbed
from tests.chaos.faults import Faults, pid_of
from tests.chaos.load import Door, send_all
from tests.chaos.mix import Mix, Sent, mixed

MANIFEST = Path(__file__).parent / "manifest"


class Report(NamedTuple):
    """What a drill found."""

    verdict: Verdict
    mix: Mix
    refused: int
    seconds: float
    killed: Mapping[str, int]
    troubles: list[str]

    @property
    def line(self) -> str:
        """One line for people."""
        kills = ", ".join(f"{name} {times}" for name, times in sorted(self.killed.items()))
        found = ", ".join(f"{len(names)} {what}" for what, names in self.verdict._asdict().items())
        mix = self.mix
        return (f"{mix.messages} messages ({mix.orders} orders, {mix.row_files * mix.rows_each} records of "
                f"{mix.row_files} files, {mix.papers} files, {mix.scans} large, {mix.baskets} split and gathered, "
                f"{mix.calls} calls, of which {self.refused} had an error), {found}, "
                f"{sum(self.killed.values())} kills ({kills}) in {self.seconds:.0f} s")


class Cluster:
    """A home, and `arintctl` for it."""

    def __init__(self, home: Path, env: Mapping[str, str]) -> None:
        self.home, self.env = home, {**os.environ, "XDG_CONFIG_HOME": str(home.parent / "config"), **env}
        self.arintctl = str(Path(sys.executable).with_name("arintctl"))

    def run(self, *words: str) -> str:
        """One command, which must succeed."""
        done = subprocess.run([self.arintctl, "--home", str(self.home), *words], env=self.env, check=False,
                              capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def read(self, *words: str) -> Any:
        """What a command prints as JSON."""
        return msgspec.json.decode(self.run(*words, "-o", "json"))

    def down(self) -> None:
        """All of its processes end, whatever signals come meanwhile. Raises AssertionError where one does not."""
        with undisturbed():
            self.run("down")
        left = [file.stem for file in (self.home / "run").glob("*.json") if pid_of(self.home, file.stem) is not None]
        assert not left, f"still there after `down`: {', '.join(left)}"


def drill(home: Path, orders: int, *, interval: float, patience: float) -> Report:
    """Run the drill in this home (made, and left stopped). `patience`: seconds for the last message to arrive.

    Raises KeyboardInterrupt at SIGINT and SIGTERM, when all is stopped.
    """
    mix, key = mixed(orders), secrets.token_hex(16)
    cluster = Cluster(home, {"CHAOS_KEY": key, "ARINT_FAILPOINTS": mix.failpoints})
    port = free_port()
    with ended_by_signals():
        try:
            cluster.run("up", "--http-port", str(port))
            cluster.run("apply", str(MANIFEST))
            door = Door(f"http://127.0.0.1:{port}", key, secrets.token_hex(4), home / "data")
            return _under_fire(cluster, door, mix, interval, patience)
        finally:
            cluster.down()


def _under_fire(cluster: Cluster, door: Door, mix: Mix, interval: float, patience: float) -> Report:
    faults = Faults(cluster.home, cluster.arintctl, cluster.env, interval=interval)
    began = time.monotonic()
    faults.start()
    try:
        sent = asyncio.run(send_all(door, mix, at_once=32))
    except Exception:
        sys.stderr.write(cluster.run("status", "-o", "wide"))  # how it stood when its sender gave up
        raise
    finally:
        with undisturbed():
            faults.stop()
    _wait_for_all(cluster, door.data, sent, patience)
    verdict = judge(sent.must, sent.may, outcome(door.data, sent.answers))
    troubles = faults.troubles if verdict.clean else [*faults.troubles, f"dead letters:\n{cluster.run('dlq', 'list')}"]
    return Report(verdict, mix, sent.refused, time.monotonic() - began, dict(faults.killed), troubles)


def _wait_for_all(cluster: Cluster, data: Path, sent: Sent, patience: float) -> None:
    """Until all has come out, and nothing is worked at that might come out once more."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if set(sent.must) <= set(outcome(data, sent.answers)) and not _busy(cluster):
            return
        time.sleep(0.5)


def _busy(cluster: Cluster) -> bool:
    return any(instance["in_flight"] for instance in cluster.read("status")["instances"])


def main() -> None:
    """The drill from the command line; leaves with 1 if the judge finds fault, with 130 if it was told to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000, help="orders; the rest of the mix is in proportion")
    parser.add_argument("--interval", type=float, default=2.0)
    parser.add_argument("--patience", type=float, default=120.0)
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="arint-drill-") as folder:
            report = drill(Path(folder) / "home", arguments.messages, interval=arguments.interval,
                           patience=arguments.patience)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    print(report.line)
    for kind, names in report.verdict._asdict().items():
        if names:
            print(f"{kind}: {', '.join(names[:20])}")
    for trouble in report.troubles:
        print(trouble)
    raise SystemExit(0 if report.verdict.clean else 1)


if __name__ == "__main__":
    main()
