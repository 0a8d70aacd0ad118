"""A Redis of the bench's own, where the program is installed; and how many keys it holds."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from arint.ports import free_port
from bench.peers.environment import Missing


@contextmanager
def redis() -> Iterator[int]:
    """Its port on loopback. It appends to its file every second, its own default for durability."""
    program = shutil.which("redis-server")
    if program is None:
        raise Missing("redis-server is not installed (Debian: redis-server)")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="arint-bench-") as folder:
        process = subprocess.Popen([program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder,
                                    "--appendonly", "yes", "--save", ""], stdout=subprocess.DEVNULL)
        try:
            _wait(port)
            yield port
        finally:
            process.terminate()
            process.wait()


def keys(port: int, database: int) -> int:
    """How many keys this database holds."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"SELECT %d\r\nDBSIZE\r\n" % database)
        answer = b""
        while answer.count(b"\r\n") < 2:
            answer += connection.recv(256)
    return int(answer.split(b"\r\n")[1][1:])


def _wait(port: int) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            keys(port, 0)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return
