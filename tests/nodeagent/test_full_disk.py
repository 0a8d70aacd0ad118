"""A full disk ends no loop of the agent, and logs give their space back."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from arint.engines import logs
from arint.engines.process import Process
from nodeagent.engine_room import Keeper
from tests.patience import PATIENCE


def full(*_: object, **__: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_log_is_emptied_though_it_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.log"
    file.write_bytes(b"x" * 1000)
    monkeypatch.setattr(os, "sendfile", full)
    logs.rotate(file, limit=100)
    assert file.stat().st_size == 0
    assert [one.name for one in tmp_path.iterdir()] == ["a.log"]


async def test_an_engine_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from arint.engines.nats import Nats
    from tests.nodeagent.support import make_home

    home = make_home(tmp_path / "home")
    tried = asyncio.Event()

    def start(self: Process) -> None:
        if keeper.error:
            tried.set()
        full()

    monkeypatch.setattr(Process, "start", start)
    keeper = Keeper(Nats(home, home.load()), asyncio.Event().wait, lambda: None)
    run = asyncio.create_task(keeper.run())
    async with asyncio.timeout(PATIENCE):
        await tried.wait()
    assert keeper.status().error == "it cannot be started: No space left on device"
    run.cancel()
    await asyncio.wait([run])
