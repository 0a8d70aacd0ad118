"""Callbacks are made where the flow allows it, and never to what only this machine reaches."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from arint.errors import RejectedError, SystemUnavailableError
from arint.runtime import callback
from arint.runtime.callback import Caller


async def _tell(url: str, *, trusted: bool = False) -> None:
    caller = Caller()
    try:
        await caller.tell(url, "POST", {"Content-Type": "text/plain"}, b"x", "key", 2.0, trusted)
    finally:
        await caller.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://localhost:1/", "http://[::1]:1/", "http://0.0.0.0:1/",
                                 "http://169.254.169.254/latest/meta-data/", "http://2130706433/", "http://0x7f.1/",
                                 "http://[::ffff:127.0.0.1]/"])
async def test_what_only_this_machine_reaches_is_not_called(url: str) -> None:
    with pytest.raises(RejectedError, match="may not have this address called"):
        await _tell(url)


async def test_a_name_that_nobody_knows_is_waited_for() -> None:
    with pytest.raises(SystemUnavailableError):
        await _tell("http://nobody.invalid/")


async def test_the_address_that_was_looked_at_is_the_one_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that has another address at the second look (DNS rebinding) gains nothing: there is no second look."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    looked: list[str] = []

    async def lookup(host: str, port: int, **_: Any) -> list[Any]:
        looked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup, raising=False)
    monkeypatch.setattr(callback, "may_be_called", lambda address: True)
    await _tell(f"http://partner.example:{port}/told?x=1")
    assert looked[0] == "partner.example"
    assert "partner.example" not in looked[1:]
    assert heads[0].startswith(b"POST /told?x=1 HTTP/1.1\r\n")
    assert f"host: partner.example:{port}".encode() in heads[0].lower()
    server.close()
