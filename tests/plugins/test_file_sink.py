"""Files that are put into a folder: whole, once, under the names that messages give, and never outside of it."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arint.errors import RejectedError, SystemUnavailableError
from arint.flows.step import StepError
from arint.message import Message
from arint.plugins import Delivery, SinkContext
from plugins.file import writer
from plugins.file.names import Name
from plugins.file.sink import FileSink
from plugins.file.specs import FileConnection, FileOptions


class Running:
    def __init__(self, tmp_path: Path, **spec: Any) -> None:
        self.folder = tmp_path / "out"
        self.context = SinkContext("out", msgspec.convert({"path": str(self.folder), **spec}, FileConnection), {},
                                   str(tmp_path / "data"))
        self.sink = FileSink(self.context)
        self._keys = 0

    async def send(self, body: Any, name: str, key: str = "", **options: Any) -> None:
        self._keys += 1
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        message = Message.new(raw, created=1717146000.0)
        await self.sink.send(Delivery(message, body, FileOptions(name=name, **options), key or f"key-{self._keys}"))

    async def again(self) -> None:
        """As after a crash."""
        await self.sink.close()
        self.sink = FileSink(self.context)

    def files(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in sorted(self.folder.rglob("*"))
                if path.is_file()}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    found = Running(tmp_path)
    yield found
    await found.sink.close()


async def test_names_from_the_message(running: Running) -> None:
    await running.send({"id": 7, "to": "a b"}, "{{ body.to }}/%Y-%m-%d/order-{{ body.id }}-100%%.json")
    assert list(running.files()) == ["a b/2024-05-31/order-7-100%.json"]
    assert os.stat(running.folder / "a b/2024-05-31/order-7-100%.json").st_mode & 0o777 == 0o640 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


async def test_if_the_name_is_taken(running: Running) -> None:
    for number in range(3):
        await running.send(b"%d" % number, "r.txt")
        await running.send(b"%d" % number, "n.tar.gz", if_exists="number")
        await running.send(b"%d" % number, "a.txt", if_exists="append")
    await running.send(b"0", "f.txt", if_exists="fail")
    with pytest.raises(RejectedError, match="a file of this name already"):
        await running.send(b"1", "f.txt", if_exists="fail")
    assert running.files() == {"a.txt": b"0\n1\n2\n", "f.txt": b"0", "n.tar.gz": b"0", "n.tar-2.gz": b"1",
                               "n.tar-3.gz": b"2", "r.txt": b"2"}


@pytest.mark.parametrize("if_exists", ["replace", "fail", "append", "number"])
async def test_the_same_key_writes_once(running: Running, if_exists: str) -> None:
    for _ in range(2):
        await running.send(b"one", "a.txt", "k", if_exists=if_exists)
    await running.again()
    (running.folder / "a.txt").rename(running.folder / "taken.txt")
    await running.send(b"one", "a.txt", "k", if_exists=if_exists)
    assert list(running.files()) == ["taken.txt"]


CRASH = """
import asyncio, sys
sys.path.insert(0, {root!r})
from tests.plugins.test_file_sink import Running
from pathlib import Path
asyncio.run(Running(Path({folder!r})).send(b"the message", "a.txt", "k", if_exists={if_exists!r}))
"""


@pytest.mark.parametrize(("if_exists", "place"), [
    ("replace", "file put"), ("fail", "file put"), ("number", "file put"), ("append", "file append begun"),
    ("append", "file appended")])
async def test_a_crash_and_a_second_attempt_leave_one(running: Running, tmp_path: Path, if_exists: str,
                                                      place: str) -> None:
    if if_exists == "append":
        await running.send(b"before", "a.txt", "first", if_exists="append")
    script = CRASH.format(root=str(Path(__file__).parents[2]), folder=str(tmp_path), if_exists=if_exists)
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script], check=False,
                                   env={**os.environ, "ARINT_FAILPOINTS": f"{place}=1"})
    assert done.returncode == -9
    await running.again()
    if place == "file append begun":  # as if half of it had come to the disk
        with (running.folder / "a.txt").open("ab") as file:
            file.write(b"the mes")
    await running.send(b"the message", "a.txt", "k", if_exists=if_exists)
    whole = b"before\nthe message\n" if if_exists == "append" else b"the message"
    assert running.files() == {"a.txt": whole}


async def test_an_addition_that_crashed_is_undone_before_the_next(running: Running, tmp_path: Path) -> None:
    await running.send(b"1", "a.txt", "1", if_exists="append")
    script = CRASH.format(root=str(Path(__file__).parents[2]), folder=str(tmp_path), if_exists="append")
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script], check=False,
                            env={**os.environ, "ARINT_FAILPOINTS": "file appended=1"})
    await running.again()
    await running.send(b"2", "a.txt", "2", if_exists="append")
    await running.send(b"the message", "a.txt", "k", if_exists="append")
    assert running.files() == {"a.txt": b"1\n2\nthe message\n"}


@pytest.mark.parametrize("value", ["../x", "..", "/etc/passwd", "a/../../x", "", ".", "a//b", "a\nb", "\x00",
                                   "x" * 300])
async def test_names_that_lead_out_are_rejected(running: Running, tmp_path: Path, value: str) -> None:
    with pytest.raises(RejectedError):
        await running.send({"id": value}, "{{ body.id }}")
    assert {path.name for path in tmp_path.iterdir()} <= {"data", "out"}
    assert not running.folder.exists() or not running.files()


@settings(max_examples=100)
@given(st.text(max_size=12) | st.lists(st.sampled_from(["..", ".", "", "a", "/"]), max_size=5).map("/".join))
def test_a_name_lies_within_or_is_rejected(value: str) -> None:
    try:
        folders, name = Name("in/{{ body }}").fill(Message.new(msgspec.json.encode(value)))
    except RejectedError:
        return
    whole = os.path.normpath(b"/root/" + b"/".join((*folders, name)))
    assert whole == b"/root/" + b"/".join((*folders, name))
    assert whole.startswith(b"/root/in/")


async def test_links_are_not_followed(running: Running, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "victim").write_text("safe")
    running.folder.mkdir()
    (running.folder / "link").symlink_to(tmp_path / "elsewhere")
    (running.folder / "file").symlink_to(tmp_path / "victim")
    with pytest.raises(RejectedError, match="a link stands in its way"):
        await running.send(b"x", "link/a")
    with pytest.raises(RejectedError, match="a link stands in its way"):
        await running.send(b"x", "file", if_exists="append")
    await running.send(b"x", "file")
    assert (tmp_path / "victim").read_text() == "safe"
    assert not list((tmp_path / "elsewhere").iterdir())
    assert (running.folder / "file").read_bytes() == b"x"


async def test_the_state_of_the_folder_is_not_the_messages_fault(running: Running, tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer.os, "fsync", full)
    for if_exists in ("replace", "append"):
        with pytest.raises(SystemUnavailableError, match="No space left"):
            await running.send(b"x", "a", if_exists=if_exists)
    with pytest.raises(SystemUnavailableError):
        await running.sink.probe()
    monkeypatch.undo()
    await running.sink.probe()
    assert {name: body for name, body in running.files().items() if body} == {}
    (tmp_path / "moved").mkdir()
    running.folder.rename(tmp_path / "moved/out")
    running.folder.write_text("a file stands here")
    with pytest.raises(SystemUnavailableError):
        await running.sink.probe()
    with pytest.raises(SystemUnavailableError):
        await running.send(b"x", "a")


async def test_a_reader_never_meets_half_a_file(running: Running) -> None:
    body, seen, name = os.urandom(2**20), set[int](), running.folder / "a"

    async def look() -> None:
        while True:
            seen.add(await asyncio.to_thread(lambda: name.stat().st_size if name.exists() else 0))

    looking = asyncio.create_task(look())
    for number in range(20):
        await running.send(body[number:], "a")
    looking.cancel()
    assert seen <= {0, *(2**20 - number for number in range(20))}


@pytest.mark.parametrize(("written", "told"), [
    ("{{ bdy.id }}", "unknown name"), ("{{ body. }}", "not a CEL expression"), ("%Q", "%Q is no part of a time"),
    ("100%", "stands for %")])
def test_mistakes_in_names(written: str, told: str) -> None:
    with pytest.raises(StepError, match=told):
        Name(written)
    with pytest.raises(msgspec.ValidationError, match=told):
        msgspec.convert({"name": written}, FileOptions)
