"""The second system of the example: takes orders and callbacks, and is at times not there.

    python partner.py --port 9650 --record partner.jsonl --schedule ok:3,failing:4,hanging:4,ok

It knows an order by its Idempotency-Key and keeps each once, also after a restart. Modes: `ok`; `failing` (503),
`broken` (500), `hanging` (no answer), `half` (an answer that breaks off). While it is not `ok`, /health is not either.

    POST /orders, /callbacks    is kept, as a line of JSON in the file of --record
    GET  /health                is it there?
    GET  /received              what it has: {"orders": [...], "callbacks": [...], "refused": n, "repeated": n}
    POST /control               {"mode": "failing", "for": 5}; without "for", until told otherwise
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MODES = ("ok", "failing", "broken", "hanging", "half")
KINDS = {"/orders": "orders", "/callbacks": "callbacks"}
LONGEST_HANG = 60.0
LARGEST_BODY = 1 << 20


class Mood:
    """Which mode it is in: phases one after another, the last one for ever."""

    def __init__(self, phases: list[tuple[str, float]]) -> None:
        self._changed = threading.Condition()
        self._set(phases)

    def _set(self, phases: list[tuple[str, float]]) -> None:
        until = time.monotonic()
        self._phases: list[tuple[str, float]] = []
        for mode, seconds in phases:
            until += seconds
            self._phases.append((mode, until))

    def set(self, phases: list[tuple[str, float]]) -> None:
        """From now on these."""
        with self._changed:
            self._set(phases)
            self._changed.notify_all()

    @property
    def mode(self) -> str:
        """The mode of this moment."""
        now = time.monotonic()
        return next((mode for mode, until in self._phases if now < until), "ok")

    def wait_while_hanging(self) -> None:
        """Until it hangs no more, at most a minute."""
        end = time.monotonic() + LONGEST_HANG
        with self._changed:
            while self.mode == "hanging" and time.monotonic() < end:
                self._changed.wait(0.1)


class Received:
    """What has come in: each idempotency key once, in memory and in a file of JSON lines."""

    def __init__(self, record: Path | None) -> None:
        self._lock = threading.Lock()
        self._record = record
        self._keys: set[tuple[str, str]] = set()
        self.entries: dict[str, list[Any]] = {kind: [] for kind in KINDS.values()}
        self.repeated = 0
        self.refused = 0
        if record is not None and record.exists():
            for line in record.read_text().splitlines():
                # A line that broke off when the process was killed was not answered either
                with contextlib.suppress(ValueError):
                    self._remember(json.loads(line))
            if not record.read_bytes().endswith(b"\n"):
                self._write("\n")

    def _write(self, text: str) -> None:
        if self._record is not None:
            with self._record.open("a") as file:
                file.write(text)

    def _remember(self, entry: dict[str, Any]) -> None:
        self._keys.add((entry["kind"], entry["key"]))
        self.entries[entry["kind"]].append(entry["body"])

    def add(self, kind: str, key: str, body: Any) -> bool:
        """Keep it; False if this key was here before."""
        with self._lock:
            if key and (kind, key) in self._keys:
                self.repeated += 1
                return False
            entry = {"kind": kind, "key": key, "at": time.time(), "body": body}
            self._write(json.dumps(entry) + "\n")
            self._remember(entry)
            return True

    def refuse(self) -> None:
        """Count a request that was not taken."""
        with self._lock:
            self.refused += 1

    def told(self) -> dict[str, Any]:
        """All of it."""
        with self._lock:
            return {**self.entries, "repeated": self.repeated, "refused": self.refused}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    mood: Mood
    received: Received

    def do_GET(self) -> None:
        if self.path == "/received":
            self.answer(200, self.received.told())
        elif self.path == "/health":
            if self.is_there():
                self.answer(200, {"mode": "ok"})
        else:
            self.answer(404, {"error": "not here"})

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), LARGEST_BODY))
        if self.path == "/control":
            self.control(body)
        elif self.path not in KINDS:
            self.answer(404, {"error": "not here"})
        elif self.is_there():
            self.keep(KINDS[self.path], body)

    def keep(self, kind: str, body: bytes) -> None:
        try:
            content = json.loads(body)
        except ValueError:
            self.answer(400, {"error": "this is not JSON"})
            return
        new = self.received.add(kind, self.headers.get("Idempotency-Key", ""), content)
        self.answer(201 if new else 200, {"received": True, "repeated": not new})

    def control(self, body: bytes) -> None:
        try:
            wish = json.loads(body)
            mode, seconds = wish["mode"], float(wish.get("for", "inf"))
        except (ValueError, KeyError, TypeError):
            mode = ""
        if mode not in MODES:
            self.answer(400, {"error": f"mode is one of {', '.join(MODES)}"})
            return
        self.mood.set([(mode, seconds)])
        self.answer(200, {"mode": mode})

    def is_there(self) -> bool:
        """Whether to go on; whatever is not `ok` is acted out here."""
        mode = self.mood.mode
        if mode == "ok":
            return True
        self.received.refuse()
        if mode == "failing":
            self.answer(503, {"error": "down for maintenance"}, ("Retry-After", "1"))
        elif mode == "broken":
            self.answer(500, {"error": "something broke"})
        else:
            if mode == "hanging":
                self.mood.wait_while_hanging()
            else:
                self.wfile.write(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{")
            self.close_connection = True
        return False

    def answer(self, status: int, content: Any, *headers: tuple[str, str]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        print(f"{self.mood.mode:8}", format % args, flush=True)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away, as it does when we hang, is no news."""


def phases(text: str) -> list[tuple[str, float]]:
    """`ok:3,failing:4,ok`: modes with seconds; the last for ever."""
    found = []
    for part in text.split(","):
        mode, _, seconds = part.partition(":")
        if mode not in MODES:
            raise argparse.ArgumentTypeError(f"{mode}: a mode is one of {', '.join(MODES)}")
        found.append((mode, float(seconds or "inf")))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="The second system of the orders example.")
    parser.add_argument("--port", type=int, default=9650, help="0: one that is free")
    parser.add_argument("--record", type=Path, help="file of JSON lines; kept over restarts")
    parser.add_argument("--schedule", type=phases, default=[("ok", float("inf"))], help="such as ok:3,failing:4,ok")
    chosen = parser.parse_args()
    Handler.received = Received(chosen.record)
    Handler.mood = Mood(chosen.schedule)
    server = Server(("127.0.0.1", chosen.port), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"listening on {server.server_address[1]}", flush=True)
    server.serve_forever(poll_interval=0.1)
    server.server_close()


if __name__ == "__main__":
    main()
