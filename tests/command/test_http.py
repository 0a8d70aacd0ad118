"""Programs that serve HTTP on the socket that they are given."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arint.command import http, service
from arint.command.frames import ProgramError
from arint.command.service import CommandService
from arint.errors import ArintError, RejectedError, SystemUnavailableError, TimedOutError
from tests.command.programs import command_in, given, service_of, write
from tests.patience import PATIENCE

SERVER = '''
import base64, json, os, signal, socketserver, sys, time
from http.server import BaseHTTPRequestHandler

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        word = body.decode(errors="replace")
        if word.isdigit():
            return self.answer(int(word), b"said so", {"Retry-After": "7"})
        if word == "exit":
            os._exit(5)
        if word == "hang":
            time.sleep(3600)
        if word == "nonsense":
            self.wfile.write(b"this is no HTTP\\r\\n\\r\\n"); self.close_connection = True; return
        if word == "endless":
            self.send_response(200); self.end_headers()
            while True:
                self.wfile.write(bytes(1 << 20))
        if word == "request":
            return self.answer(200, json.dumps(dict(self.headers)).encode(), {"Content-Type": "application/json"})
        sends = base64.b64encode(json.dumps([{"to": "flow/next", "body": {"n": 1}}]).encode()).decode()
        self.answer(200, body.upper(), {"Arint-Sends": sends} if word == "send" else {})

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)

    def address_string(self):
        return "arint"

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

Server(os.environ["ARINT_SOCKET"], Handler).serve_forever()
'''


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[CommandService]:
    write(tmp_path, "serve.py", SERVER)
    command = command_in(tmp_path, service_of(sys.executable, "serve.py", framing="http", concurrency=4))
    await command.start()
    yield command
    await command.stop(0.0)
    assert not (tmp_path / "sockets/prog-1/s").exists()


async def ask(command: CommandService, body: bytes | str, **fields: object) -> bytes:
    async with asyncio.timeout(PATIENCE):
        return (await command.handle(*given(body, **fields))).message.body


async def test_a_message_is_a_request_and_its_answer_the_result(server: CommandService) -> None:
    assert await ask(server, "abc") == b"ABC"
    large = b"\xff" * 2 * 2**20
    assert await ask(server, large) == large
    headers = {"x-kind": "return", "host": "elsewhere", "bad name": "x", "x-bad": "a\nb"}
    message, context = given("request", headers=headers)
    reply = await server.handle(message, context)
    seen = {name.lower(): value for name, value in json.loads(reply.message.body).items()}
    assert seen["x-kind"] == "return"
    assert seen["arint-message"] == message.id
    assert seen["idempotency-key"] == "m.0.start"
    assert seen["host"] == "service"
    assert not {"bad name", "x-bad"} & seen.keys()
    assert reply.message.content_type == "application/json"
    assert [output.flow for output in (await server.handle(*given("send"))).outputs] == ["next"]


async def test_statuses_say_what_becomes_of_the_message(server: CommandService) -> None:
    assert await ask(server, "204") == b"204"
    for status in ("400", "404", "422"):
        with pytest.raises(RejectedError, match="said so"):
            await ask(server, status)
    for status in ("429", "502", "503", "504"):
        with pytest.raises(SystemUnavailableError) as away:
            await ask(server, status)
        assert away.value.retry_after == 7
    for status in ("500", "302"):
        with pytest.raises(ProgramError, match="said so"):
            await ask(server, status)


async def test_many_at_once(server: CommandService) -> None:
    assert server.concurrency == 4
    words = [f"word {n}" for n in range(40)]
    assert await asyncio.gather(*(ask(server, word) for word in words)) == [word.upper().encode() for word in words]


async def test_one_that_does_its_worst_fails_that_message_only(server: CommandService,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProgramError, match="ended with code 5, before it had answered"):
        await ask(server, "exit")
    assert await ask(server, "again") == b"AGAIN"
    with pytest.raises(ProgramError, match="no right answer"):
        await ask(server, "nonsense")
    monkeypatch.setattr(http, "LARGEST_ANSWER", 8 * 2**20)
    with pytest.raises(ProgramError, match="more than 8 MiB"):
        await ask(server, "endless")
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await server.handle(*given("hang"))
        server.timed_out()
    assert await ask(server, "again") == b"AGAIN"
    assert server.ends == 2


async def test_one_that_does_not_listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "START_WITHIN", 0.3)
    write(tmp_path, "mute.sh", "#!/bin/sh\nexec sleep 3600\n")
    with pytest.raises(TimedOutError, match="ARINT_SOCKET"):
        await command_in(tmp_path, service_of("./mute.sh", framing="http")).start()
    write(tmp_path, "ends.sh", "#!/bin/sh\nexit 4\n")
    with pytest.raises(ProgramError, match="ended with code 4"):
        await command_in(tmp_path, service_of("./ends.sh", framing="http")).start()
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    write(deep, "ends.sh", "#!/bin/sh\nexit 4\n")
    with pytest.raises(ArintError, match="path of its socket is too long"):
        await command_in(deep, service_of("./ends.sh", framing="http")).start()
