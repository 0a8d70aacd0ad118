"""An instance that leaves: what was sent to it in that moment is refused in words, not left in doubt."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from arint.calls.client import Calls, RefusedError
from arint.calls.frames import Hello
from arint.calls.server import Asked, CallServer
from arint.calls.sockets import Sockets
from arint.flows.state import Reply
from arint.home import Home
from arint.message import Message


async def test_a_call_that_crosses_the_leaving_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make_folders()
    sockets = Sockets(home)
    sockets.path.mkdir(mode=0o700, exist_ok=True)

    async def answer(asked: Asked) -> Reply:
        raise AssertionError("it was not to begin")

    server = CallServer(sockets, "service.shop-1")
    await server.start(Hello("test", 4, False), answer)
    loop = asyncio.get_running_loop()
    callers = [(await loop.create_unix_connection(lambda: Calls("shop-1"), sockets.address("service.shop-1")))[1]
               for _ in range(2)]
    for caller in callers:
        assert await caller.greeted
    stopping = asyncio.create_task(server.stop(5))
    with pytest.raises(RefusedError):
        await callers[0].ask("service/shop", Message.new(b""), 5)
    await stopping
    assert all(caller.gone for caller in callers)
    sockets.close()
