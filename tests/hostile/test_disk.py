"""A disk that is full: nothing that was accepted is lost, the sender is told 503, and it goes on once there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.hostile.system import System, eventually

MANIFEST = """
kind: Service
name: keep
source: keep.py:keep
---
kind: Flow
name: kept
retry: {attempts: 3, backoff: 10ms..50ms}
max_bytes: 64MiB
steps:
  - call: service/keep
  - send: {to: connection/store, statement: "insert into seen (id) values (:n) on conflict do nothing"}
---
kind: Connection
name: store
sql: {url: "sqlite:///${ARINT_DATA}/seen.db", setup: ["create table if not exists seen (id integer primary key)"]}
---
kind: Channel
name: kept
http: {path: /kept}
to: flow/kept
"""
CODE = "def keep(body: dict) -> dict:\n    return body\n"
ROOM = "2g"


def _why_not() -> str:
    return "" if os.geteuid() == 0 else "mounting a small disk needs root"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[System]:
    """A cluster whose home lies on a disk of its own."""
    if why_not := _why_not():
        pytest.skip(why_not)
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "arint-test", str(disk)],
                             capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    try:
        with System(disk) as system:
            yield system
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def fill(folder: Path) -> Path:
    """Take all the room there is."""
    file = folder / "ballast"
    with file.open("wb", buffering=0) as ballast:
        for size in (2**24, 2**16, 2**12, 1):
            try:
                while True:
                    ballast.write(b"\0" * size)
            except OSError:
                continue
    return file


@pytest.mark.timeout(240)
def test_a_full_disk_loses_nothing_and_is_told(small: System) -> None:
    small.write({"keep.py": CODE, "kept.yaml": MANIFEST})
    small.ctl("apply", "kept.yaml")
    accepted: list[str] = []
    said: set[int] = set()

    def send(number: int) -> int:
        try:
            answer = httpx.post(small.url("/kept"), content=b'{"n": %d, "x": "%s"}' % (number, b"x" * 20_000),
                                headers={"Idempotency-Key": f"n-{number}"}, timeout=30.0)
        except httpx.TransportError:
            return 0
        said.add(answer.status_code)
        if answer.status_code == 202:
            accepted.append(answer.json()["id"])
        return answer.status_code

    assert [send(number) for number in range(20)] == [202] * 20
    ballast = fill(small.folder)
    try:
        eventually(lambda: send(1000 + len(said) + len(accepted)) == 503, 30.0)
        for number in range(2000, 2010):
            send(number)
    finally:
        ballast.unlink()
    eventually(lambda: send(3000) == 202, 60.0, lambda: small.ctl("status"))
    assert said <= {202, 503}
    for message in accepted:
        small.wait_state("/kept", message, "done", patience=90.0)
    assert small.json("dlq", "list") == []
    eventually(lambda: bool(small.json("status")["ready"]), 30.0)


def test_up_on_a_disk_that_is_too_small_says_so(tmp_path: Path) -> None:
    if why_not := _why_not():
        pytest.skip(why_not)
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "arint-test", str(disk)], check=False).returncode:
        pytest.skip("a small disk cannot be mounted")
    try:
        with System(disk, up=False) as system:
            said = system.refused("up")
            assert "too little space" in said
    finally:
        subprocess.run(["umount", str(disk)], check=True)
