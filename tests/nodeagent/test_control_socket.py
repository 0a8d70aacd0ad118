"""Whoever speaks nonsense to the agent's socket is shown the door, and holds up nobody."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from arint.runtime.control import Beat, Hello, encode_line
from nodeagent.control_socket import ControlSocket, Follow, Query, Question
from tests.patience import PATIENCE


class Answer(msgspec.Struct):
    number: int


async def answer(question: Question) -> AsyncIterator[msgspec.Struct]:
    yield Answer(1)
    while isinstance(question, Follow):
        await asyncio.sleep(0.01)
        yield Answer(2)


async def ask(path: Path, line: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(line)
    await writer.drain()
    async with asyncio.timeout(PATIENCE):
        said = await reader.read()
    writer.close()
    return said


@pytest.mark.parametrize("line", [b"nonsense\n", b"{}\n", b'{"type":"query","what":"everything"}\n', b"\xff\n",
                                  b"x" * 2_000_000, encode_line(Hello("price-1", 1)), encode_line(Beat("ready")),
                                  b"[" * 100_000 + b"\n"])
async def test_what_makes_no_sense_is_not_answered(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "agent.sock"
    async with ControlSocket(path, lambda _: None, set, answer).serving():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with contextlib.suppress(ConnectionError):  # cut while it was still talking
            assert await ask(path, line) == b""
        assert msgspec.json.decode(await ask(path, msgspec.json.encode(Query("status")) + b"\n")) == {"number": 1}
    assert not path.exists()


async def test_a_follower_that_leaves_ends_what_was_done_for_it(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def endless(_: Question) -> AsyncIterator[msgspec.Struct]:
        try:
            while True:
                yield Answer(3)
                await asyncio.sleep(3600)
        finally:
            ended.set()

    path = tmp_path / "agent.sock"
    async with ControlSocket(path, lambda _: None, set, endless).serving():
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b'{"type":"follow"}\n')
        assert await reader.readline() == b'{"number":3}\n'
        writer.close()
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
