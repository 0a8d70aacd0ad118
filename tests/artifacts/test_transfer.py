"""From a home into the store and out of it into another: whole, with its own digest, within its own folder; or not."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arint.artifacts import pack, store, transfer, unpack
from arint.artifacts.installing import keep
from arint.artifacts.packing import repack
from arint.bus import lookup
from arint.bus.connection import Bus
from arint.errors import ArintError, NotFoundError, NotValidError, TimedOutError
from arint.home import Home
from arint.resources.requirements import Package
from arint.runtime.control import BusSettings
from tests.servers import NatsServer
from tests.wheels import make_wheel


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[Bus]:
    async with await Bus.connect(BusSettings((nats_server.server,), "", "", ""), name="test") as bus:
        yield bus


def home(tmp_path: Path, name: str) -> Home:
    made = Home(tmp_path / name)
    made.make_folders()
    return made


def code(tmp_path: Path, size: int = 0) -> tuple[str, bytes]:
    folder = tmp_path / "source"
    (folder / "lib").mkdir(parents=True)
    (folder / "price.py").write_text("x = 1")
    (folder / "lib/run.sh").write_bytes(os.urandom(size))
    (folder / "lib/run.sh").chmod(0o700)
    return pack(folder / "price.py", ["lib/*"])


def left(place: Home) -> list[Path]:
    return [file for folder in (place.artifacts, place.wheels) for file in folder.iterdir()]


async def test_code_goes_from_home_to_home(bus: Bus, tmp_path: Path) -> None:
    one, other = home(tmp_path, "one"), home(tmp_path, "other")
    digest, packed = code(tmp_path, 2**20)
    unpack(packed, one.artifact(digest), digest)
    (one.artifact(digest) / "__pycache__").mkdir()
    (one.artifact(digest) / "__pycache__/price.cpython-311.pyc").write_bytes(b"made when it ran")
    piece = transfer.code_here(one, digest)
    assert piece is not None
    await store.put(bus, [piece])
    await transfer.bring_code(bus, other, digest)
    await transfer.bring_code(bus, other, digest)  # it is there
    there = other.artifact(digest)
    assert (there / "price.py").read_text() == "x = 1"
    assert [file.stat().st_mode & 0o777 for file in (there, there / "price.py", there / "lib/run.sh")] == [
        0o755, 0o644, 0o755]
    assert left(other) == [there]
    (one.artifact(digest) / "price.py").write_text("x = 2")
    assert transfer.code_here(one, digest) is None
    assert repack(one.artifact("nowhere"), "nowhere") is None


async def test_wheels_go_from_home_to_home(bus: Bus, tmp_path: Path) -> None:
    one, other = home(tmp_path, "one"), home(tmp_path, "other")
    wheel = make_wheel(tmp_path / "house", "coins", "1.1")
    keep(one, [wheel])
    package = Package("coins", "1.1", hashlib.sha256(wheel.read_bytes()).hexdigest())
    piece = transfer.wheel_here(one, package.sha256)
    assert piece is not None
    assert transfer.wheel_here(other, package.sha256) is None
    with pytest.raises(NotFoundError):
        await transfer.bring_wheels(bus, other, [package])
    await store.put(bus, [piece])
    await transfer.bring_wheels(bus, other, [package])
    assert (other.wheels / package.sha256 / wheel.name).read_bytes() == wheel.read_bytes()
    assert left(other) == [other.wheels / package.sha256]


@pytest.mark.parametrize("name", ["../../coins-1.1-py3-none-any.whl", "coins.tar.gz", "",
                                  "/etc/coins-1.1-py3-none-any.whl"])
async def test_a_wheel_is_named_as_wheels_are(bus: Bus, tmp_path: Path, name: str) -> None:
    package = Package("coins", "1.1", hashlib.sha256(b"wheel").hexdigest())
    await store.put(bus, [_piece("wheel", package.sha256, b"wheel", name)])
    there = home(tmp_path, "there")
    with pytest.raises(NotValidError, match="is no name of a wheel"):
        await transfer.bring_wheels(bus, there, [package])
    assert left(there) == []
    assert not list(tmp_path.rglob("*.whl"))


async def test_what_has_another_digest_does_not_come_in(bus: Bus, tmp_path: Path) -> None:
    """Somebody could write to the store who may not: what they write still does not run."""
    there, (_, packed) = home(tmp_path, "there"), code(tmp_path)
    await store.put(bus, [_piece("code", "ab" * 32, packed), _piece("code", "cd" * 32, b"no archive"),
                          _piece("wheel", "ab" * 32, b"wheel", "coins-1.1-py3-none-any.whl")])
    with pytest.raises(NotValidError, match="not what its digest names"):
        await transfer.bring_code(bus, there, "ab" * 32)
    with pytest.raises(NotValidError, match="no archive"):
        await transfer.bring_code(bus, there, "cd" * 32)
    with pytest.raises(NotValidError, match="not what its hash names"):
        await transfer.bring_wheels(bus, there, [Package("coins", "1.1", "ab" * 32)])
    assert left(there) == []


async def test_a_transfer_that_is_cut_off_leaves_nothing_and_is_done_again(
        bus: Bus, nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, (digest, packed) = home(tmp_path, "there"), code(tmp_path, 8 * 2**20)
    wheel = make_wheel(tmp_path / "house", "coins", "1.1", {"coins.bin": "x" * 8 * 2**20})
    package = Package("coins", "1.1", hashlib.sha256(wheel.read_bytes()).hexdigest())
    keep(there, [wheel])
    large = transfer.wheel_here(there, package.sha256)
    assert large is not None
    await store.put(bus, [transfer.packed_code(digest, packed), large])
    wheel.unlink()
    (there.wheels / package.sha256).rename(tmp_path / "away")
    exactly, reads = lookup.exactly, 0

    async def cut(*arguments: object, **more: float) -> dict[str, lookup.Found]:
        nonlocal reads
        reads += 1
        if reads == 2:
            nats_server.kill()
        return await exactly(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "_WITHIN", 1.0)
    monkeypatch.setattr(lookup, "exactly", cut)
    bring = (lambda: transfer.bring_code(bus, there, digest), lambda: transfer.bring_wheels(bus, there, [package]))
    for one in bring:
        reads = 0
        with pytest.raises((ArintError, TimedOutError)):
            await one()
        assert left(there) == []
        nats_server.start(wait=False)
        await nats_server.wait_ready()
        await bus.wait_connected(10.0)
    reads = 2
    for one in bring:
        await one()
    assert left(there) == [there.artifact(digest), there.wheels / package.sha256]


def _piece(kind: store.Kind, digest: str, content: bytes, name: str = "") -> store.Piece:
    return store.Piece(kind, digest, len(content), lambda: io.BytesIO(content), name)
