"""Folders: each file taken once and whole, whatever the folder does meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arint.errors import RejectedError, UnreachableError
from arint.plugins import Accepted, ChannelBinding, FullError
from plugins.file import taker
from plugins.file.folder import Folder, StillWrittenError
from plugins.file.source import FileSource
from plugins.file.specs import FileChannel
from plugins.file.watch import Found, Watch, batches
from tests.patience import PATIENCE


class Intake:
    """Keeps what it accepts, once for each id."""

    def __init__(self) -> None:
        self.stored: dict[str, tuple[bytes, dict[str, str], str]] = {}
        self.asked = 0
        self.repeated = 0
        self.refuses: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def accept(self, channel: str, body: bytes | AsyncIterator[bytes], *, content_type: str,
                     headers: Mapping[str, str], idempotency_key: str = "", caller: str = "",
                     correlation_id: str = "", traceparent: str = "", message_id: str = "") -> Accepted:
        self.asked += 1
        await self.gate.wait()
        if not isinstance(body, bytes):
            body = b"".join([part async for part in body])
        if self.refuses:
            raise self.refuses.pop()
        self.repeated += message_id in self.stored
        self.stored.setdefault(message_id, (body, dict(headers), content_type))
        return Accepted(message_id)

    async def status(self, message_id: str) -> dict[str, Any] | None:
        return None

    def secret(self, name: str) -> bytes:
        raise NotImplementedError

    @property
    def bodies(self) -> list[bytes]:
        return [body for body, _, _ in self.stored.values()]


class Running:
    def __init__(self, folder: Path) -> None:
        self.folder, self.intake, self.source = folder, Intake(), FileSource()

    async def watch(self, **spec: Any) -> None:
        written = {"path": str(self.folder), "settle": "0s", "every": "20ms", **spec}
        await self.source.start(self.intake, host="", port=0)
        await self.source.update([ChannelBinding("in", msgspec.convert(written, FileChannel), "flow/x")])

    async def crash(self) -> None:
        """As a kill would leave it: nothing is put away."""
        for _, one in self.source._takers.values():
            assert one._task is not None
            one._task.cancel()
            await asyncio.wait([one._task])
        self.source = FileSource()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.005)

    def put(self, name: str | bytes, body: bytes = b"x") -> bytes:
        path = os.path.join(os.fsencode(self.folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + b".tmp", "wb") as file:
            file.write(body)
        os.rename(path + b".tmp", path)
        return path

    def all_done(self, count: int) -> bool:
        left = self.left()
        return len(left) == count and all(name.startswith(".done/") for name in left)

    def left(self) -> list[str]:
        return sorted(os.path.relpath(os.path.join(folder, name), self.folder)
                      for folder, _, names in os.walk(self.folder) for name in names)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    found = Running(tmp_path / "in")
    yield found
    await found.source.stop(2)


async def test_a_file_becomes_a_message_and_is_put_away(running: Running) -> None:
    await running.watch(recursive=True, glob="*.json")
    running.put("a.json", b'{"a":1}')
    running.put("deep/er/b.json", b"2")
    running.put("other.txt")
    running.put(".hidden.json")
    await running.until(lambda: running.left() == [".done/a.json", ".done/deep/er/b.json", ".hidden.json", "other.txt"])
    [first] = [value for value in running.intake.stored.values() if value[0] == b'{"a":1}']
    assert first[1]["file-name"] == first[1]["file-path"] == "a.json"
    assert first[1]["file-size"] == "7"
    assert first[1]["file-modified"].endswith("Z")
    assert first[2] == "application/json"
    assert {value[1]["file-path"] for value in running.intake.stored.values()} == {"a.json", "deep/er/b.json"}


async def test_deleted_or_kept_elsewhere(running: Running, tmp_path: Path) -> None:
    await running.watch(done="delete")
    running.put("a")
    await running.until(lambda: running.intake.stored and running.left() == [])
    await running.watch(done=str(tmp_path / "kept"))
    running.put("a")
    await running.until(lambda: (tmp_path / "kept/a").exists())
    running.put("a")
    await running.until(lambda: len(list((tmp_path / "kept").iterdir())) == 2)
    assert len(running.intake.stored) == 3


async def test_a_file_that_is_put_in_again_is_a_message_again(running: Running) -> None:
    await running.watch()
    running.put("a")
    await running.until(lambda: running.left() == [".done/a"])
    os.rename(running.folder / ".done/a", running.folder / "a")
    await running.until(lambda: len(running.intake.stored) == 2)


async def test_names_of_any_bytes(running: Running) -> None:
    await running.watch()
    running.folder.mkdir(exist_ok=True)
    names = [b"two\nlines", b"\xff\xfe", b"\\xff\\xfe", b" ", "ü".encode(), b"x" * 255, b"'; drop table"]
    folder = os.fsencode(running.folder)
    for name in names:
        with open(os.path.join(folder, name), "wb") as file:
            file.write(name)
    await running.until(lambda: running.all_done(len(names)))
    assert sorted(running.intake.bodies) == sorted(names)
    assert sorted(os.listdir(folder + b"/.done")) == sorted(names)
    for _, headers, _ in running.intake.stored.values():
        assert headers["file-name"].isprintable()


async def test_what_is_not_a_file_of_the_folder_is_refused(running: Running, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/s.txt").write_text("secret")
    running.folder.mkdir()
    (running.folder / "link").symlink_to(tmp_path / "secret")
    (running.folder / "folder").symlink_to(tmp_path / "outside")
    (running.folder / "dangling").symlink_to("nowhere")
    os.mkfifo(running.folder / "pipe")
    await running.watch(recursive=True)
    wanted = {"link", "folder", "dangling", "pipe"}
    failed = running.folder / ".failed"
    await running.until(lambda: failed.is_dir() and {f"{name}.error" for name in wanted} <= set(os.listdir(failed)))
    assert running.intake.asked == 0
    assert (tmp_path / "outside/s.txt").exists()
    assert "it is a link" in (failed / "link.error").read_text()
    assert "no file but a device, a pipe" in (failed / "pipe.error").read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_that_may_not_be_read(running: Running) -> None:
    os.chmod(running.put("a"), 0)
    await running.watch()
    await running.until(lambda: ".failed/a.error" in running.left())
    assert "Permission denied" in (running.folder / ".failed/a.error").read_text()


async def test_a_file_that_grows_is_waited_for(running: Running) -> None:
    running.folder.mkdir()
    await running.watch(settle="150ms")
    with (running.folder / "a").open("wb", buffering=0) as file:
        for _ in range(20):
            file.write(b"x" * 1000)
            await asyncio.sleep(0.02)
    await running.until(lambda: running.intake.stored)
    assert running.intake.bodies == [b"x" * 20_000]


async def test_a_file_that_grows_after_it_was_taken(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    read, grown = Folder.read, []

    def growing(self: Folder, file: Any, most: int) -> bytes | None:
        if len(grown) < 2:
            grown.append(1)
            raise StillWrittenError
        return read(self, file, most)

    def endless(*_: Any) -> None:
        raise StillWrittenError

    monkeypatch.setattr(Folder, "read", growing)
    await running.watch()
    running.put("a", b"whole")
    await running.until(lambda: running.intake.bodies == [b"whole"])
    monkeypatch.setattr(Folder, "read", endless)
    monkeypatch.setattr(taker, "WRITTEN_ON", 0.2)
    running.put("b")
    await running.until(lambda: ".failed/b.error" in running.left())


async def test_a_file_that_vanishes_and_comes_again(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = Folder.claim

    def late(self: Folder, files: Any) -> Any:
        (running.folder / "a").unlink(missing_ok=True)
        monkeypatch.setattr(Folder, "claim", claim)
        return claim(self, files)

    monkeypatch.setattr(Folder, "claim", late)
    await running.watch()
    running.put("a")
    running.put("b")
    await running.until(lambda: len(running.intake.stored) == 1)
    running.put("a", b"again")
    await running.until(lambda: sorted(running.intake.bodies) == [b"again", b"x"])


async def test_a_marker_says_that_a_file_is_complete(running: Running) -> None:
    await running.watch(marker=".ready", settle="1h")
    running.put("a.csv")
    running.put("b.csv")
    running.put("b.csv.ready", b"")
    await running.until(lambda: running.left() == [".done/b.csv", "a.csv"])


async def test_a_full_queue_is_waited_for(running: Running) -> None:
    running.intake.refuses = [FullError("full", 0.01), UnreachableError("away"), FullError("full", 0.01)]
    taker_wait, taker.LONGEST_WAIT = taker.LONGEST_WAIT, 0.02
    try:
        await running.watch()
        running.put("a")
        await running.until(lambda: running.left() == [".done/a"])
    finally:
        taker.LONGEST_WAIT = taker_wait
    assert running.intake.bodies == [b"x"]


async def test_a_large_file_is_read_while_it_is_stored(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, written = Folder.parts, [1]

    def growing(self: Folder, file: Any) -> Iterator[bytes]:
        yield from parts(self, file)
        if written:
            written.pop()
            raise StillWrittenError

    monkeypatch.setattr(Folder, "parts", growing)
    await running.watch()
    body = os.urandom(3 * 2**20)
    running.intake.refuses = [FullError("full", 0.01)]
    running.put("a.bin", body)
    await running.until(lambda: running.left() == [".done/a.bin"])
    assert running.intake.bodies == [body]


async def test_what_is_too_large_names_the_way_out(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taker, "LARGEST_BODY", 1000)
    await running.watch()
    running.put("a", bytes(1001))
    await running.until(lambda: ".failed/a.error" in running.left())
    assert "records: {format:" in (running.folder / ".failed/a.error").read_text()
    running.intake.refuses = [RejectedError("not this one")]
    running.put("b")
    await running.until(lambda: ".failed/b.error" in running.left())


async def test_a_folder_that_cannot_be_used_is_tried_again(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taker, "LONGEST_WAIT", 0.05)
    running.folder.write_text("a file stands here")
    await running.watch()
    await asyncio.sleep(0.1)
    running.folder.unlink()
    await running.until(running.folder.is_dir)
    running.put("a")
    await running.until(lambda: running.intake.stored)


async def test_what_cannot_be_put_away_is_not_stored_again(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    done, left = Folder.done, [OSError(28, "No space left on device")] * 3

    def full(self: Folder, file: Any) -> None:
        if left:
            raise left.pop()
        done(self, file)

    monkeypatch.setattr(Folder, "done", full)
    await running.watch()
    running.put("a")
    await running.until(lambda: running.left() == [".done/a"])
    assert running.intake.asked == 1


@pytest.mark.parametrize("where", ["stored, not put away", "claimed, not stored"])
async def test_a_crash_loses_nothing_and_stores_nothing_twice(running: Running, where: str,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        running.put(f"{number % 3}/{number}", b"%d" % number)
    if where.startswith("stored"):
        done = Folder.done
        monkeypatch.setattr(Folder, "done", lambda *_: (_ for _ in ()).throw(OSError(5, "crash")))
        await running.watch(recursive=True)
        await running.until(lambda: len(running.intake.stored) == 30)
        await running.crash()
        monkeypatch.setattr(Folder, "done", done)
    else:
        running.intake.gate.clear()
        await running.watch(recursive=True)
        await running.until(lambda: running.intake.asked == 30)
        await running.crash()
        running.intake.gate.set()
    assert running.left()[0].startswith(".arint/in/")
    await running.watch(recursive=True)
    await running.until(lambda: running.all_done(30))
    assert sorted(map(int, running.intake.bodies)) == list(range(30))
    await running.until(lambda: not os.listdir(running.folder / ".arint/in"))


async def test_two_that_watch_one_folder_store_each_file_once(running: Running, tmp_path: Path) -> None:
    """As two singletons would, for the moment in which there are two."""
    other = Running(running.folder)
    other.intake = running.intake
    await running.watch()
    await other.watch()
    for number in range(200):
        running.put(f"{number}", b"%d" % number)
    await running.until(lambda: running.all_done(200))
    await other.source.stop(2)
    assert sorted(map(int, running.intake.bodies)) == list(range(200))


CSV = b"id,name\n" + b"".join(b"%d,name %d\n" % (number, number) for number in range(5000))


def rows(intake: Intake) -> list[int]:
    return sorted(int(row["id"]) for body in intake.bodies for row in json.loads(body))


async def test_records(running: Running) -> None:
    await running.watch(records={"format": "csv", "batch": 100})
    running.put("a.csv", CSV)
    await running.until(lambda: running.left() == [".done/a.csv"])
    assert rows(running.intake) == list(range(5000))
    assert len(running.intake.stored) == 50
    body, headers, content_type = list(running.intake.stored.values())[1]
    assert json.loads(body)[0] == {"id": "100", "name": "name 100"}
    assert (headers["file-record"], headers["file-records"], content_type) == ("100", "100", "application/json")


async def test_single_records(running: Running) -> None:
    await running.watch(records={"format": "ndjson"})
    running.put("a", b'{"a":1}\n{"a":2}\n')
    await running.until(lambda: running.left() == [".done/a"])
    assert running.intake.bodies == [b'{"a":1}', b'{"a":2}']


async def test_records_go_on_after_a_crash(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taker, "POSITION_EVERY", 0.0)
    monkeypatch.setattr("plugins.file.records.PIECE_MESSAGES", 10)
    running.put("a.csv", CSV)
    under_way = (taker.DEPTH + 2) * 10  # being stored, read ahead, and stored since the position was noted
    for stop_at in (13, 29, 47):
        before = running.intake.repeated
        await running.watch(records={"format": "csv", "batch": 100})
        await running.until(lambda: len(running.intake.stored) >= stop_at)  # noqa: B023
        await running.crash()
        assert running.intake.repeated - before <= under_way < 47
    await running.watch(records={"format": "csv", "batch": 100})
    await running.until(lambda: running.left() == [".done/a.csv"])
    assert rows(running.intake) == list(range(5000))


async def test_a_bad_record_in_the_middle(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugins.file.records.PIECE_MESSAGES", 10)
    await running.watch(records={"format": "csv", "batch": 100})
    bad = CSV.replace(b"2500,name 2500\n", b"2500\n")
    running.put("a.csv", bad)
    await running.until(lambda: ".failed/a.csv.error" in running.left())
    told = (running.folder / ".failed/a.csv.error").read_text()
    assert "line 2502: 1 columns, not 2; 2000 records before it are stored (verify: true" in told
    running.intake.stored.clear()
    await running.watch(records={"format": "csv", "batch": 100, "verify": True})
    running.put("b.csv", bad)
    await running.until(lambda: ".failed/b.csv.error" in running.left())
    assert not running.intake.stored


files = st.lists(st.builds(Found, st.binary(min_size=1, max_size=3), st.integers(0, 50), st.integers(0, 9),
                           st.integers(0, 9)), max_size=12, unique_by=lambda one: one.relative)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 3), files), max_size=8))
def test_only_what_stayed_the_same_for_long_enough_is_finished(looks: list[tuple[float, list[Found]]]) -> None:
    watch, now, history = Watch(2.0), 0.0, list[tuple[float, list[Found]]]()
    for step, found in looks:
        now += step
        history.append((now, found))
        ready = watch.finished(found, now)
        assert ready == sorted(ready, key=lambda one: (one.modified, one.relative))
        for one in found:
            steady = [at for at, seen in reversed(history) if one in seen]
            unbroken = next((index for index, (_, seen) in enumerate(reversed(history)) if one not in seen),
                            len(history))
            assert (one in ready) == (now - steady[:unbroken][-1] >= 2.0)


@settings(max_examples=60)
@given(files, st.integers(1, 5), st.integers(1, 100))
def test_batches_hold_everything_in_order_and_within_bounds(found: list[Found], most: int, octets: int) -> None:
    made = list(batches(found, most, octets))
    assert [one for batch in made for one in batch] == found
    for batch in made:
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or sum(one.size for one in batch) <= octets


@pytest.mark.parametrize(("written", "told"), [
    ({"path": "in"}, "path"), ({"path": "/in", "glob": "a/*"}, "glob"), ({"path": "/in", "failed": "delete"}, "failed"),
    ({"path": "/in", "failed": ".done"}, "another folder"), ({"path": "/in", "marker": "*"}, "marker"),
    ({"path": "/in", "records": {"format": "cvs"}}, "cvs"), ({"path": "/in", "records": {"format": "csv", "batch": 0}},
                                                             "batch"),
])
def test_mistakes_in_channels(written: dict[str, Any], told: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=told):
        msgspec.convert(written, FileChannel)
