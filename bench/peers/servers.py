"""HTTP servers of others that do the same: take an order as JSON, and answer with its id. Each yields (port, pid)."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arint.ports import free_port
from bench.peers.environment import CACHE, Missing, environment

FASTAPI = """
from fastapi import FastAPI

app = FastAPI()


@app.post("/orders")
async def order(order: dict) -> dict:
    return {"id": order["id"], "ok": True}
"""
NODE_RED = [
    {"id": "tab", "type": "tab", "label": "orders"},
    {"id": "in", "type": "http in", "z": "tab", "x": 100, "y": 100, "name": "", "url": "/orders",
     "method": "post", "upload": False, "swaggerDoc": "", "wires": [["order"]]},
    {"id": "order", "type": "function", "z": "tab", "x": 300, "y": 100, "name": "order", "outputs": 1,
     "func": "msg.payload = {id: msg.payload.id, ok: true};\nreturn msg;", "wires": [["out"]]},
    {"id": "out", "type": "http response", "z": "tab", "x": 500, "y": 100, "name": "", "statusCode": "", "headers": {},
     "wires": []},
]
NODE_RED_SETTINGS = """
module.exports = {uiHost: "127.0.0.1", httpAdminRoot: false, flowFile: "flows.json",
                  logging: {console: {level: "warn", metrics: false, audit: false}}}
"""


@contextmanager
def fastapi() -> Iterator[tuple[int, int]]:
    """FastAPI by uvicorn with uvloop and httptools, one process, no access log."""
    programs = environment("fastapi", "uvicorn[standard]")
    with tempfile.TemporaryDirectory(prefix="arint-bench-") as folder:
        (Path(folder) / "app.py").write_text(FASTAPI)
        port = free_port()
        with _running([str(programs / "uvicorn"), "app:app", "--port", str(port), "--no-access-log", "--log-level",
                       "warning"], Path(folder), port) as pid:
            yield port, pid


@contextmanager
def node_red() -> Iterator[tuple[int, int]]:
    """Node-RED: http in, function, http response."""
    program = _node_red()
    with tempfile.TemporaryDirectory(prefix="arint-bench-") as folder:
        (Path(folder) / "flows.json").write_text(json.dumps(NODE_RED))
        (Path(folder) / "settings.js").write_text(NODE_RED_SETTINGS)
        port = free_port()
        with _running(["node", str(program), "--userDir", folder, "--settings", f"{folder}/settings.js", "--port",
                       str(port)], Path(folder), port) as pid:
            yield port, pid


def _node_red() -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("npm is not installed (Debian: npm)")
    folder = CACHE / "node-red"
    program = folder / "node_modules" / "node-red" / "red.js"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = subprocess.run([npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder),
                               "node-red@4"], check=False, capture_output=True, text=True)
        if made.returncode or not program.exists():
            raise Missing(f"node-red cannot be installed: {made.stderr.strip()[-200:]}")
    return program


@contextmanager
def _running(command: list[str], folder: Path, port: int) -> Iterator[int]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        _wait(process, port, folder / "log")
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path, deadline: float = 60.0) -> None:
    """Until an order is answered: a port may be open before the flow is there."""
    until = time.monotonic() + deadline
    while process.poll() is None and time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), 1.0) as connection:
                connection.sendall(b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                                   b"Content-Length: 10\r\nConnection: close\r\n\r\n" + b'{"id": 1} ')
                if b" 200 " in connection.recv(100):
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise Missing(f"it does not answer: {log.read_text(errors='replace')[-200:]}")
