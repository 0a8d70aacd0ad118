"""The archive: what goes in comes out, and what was touched does not open."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arint.backup import archive
from arint.backup.archive import FRAME, Reader, Writer
from arint.backup.manifest import Entry, Manifest, Sequences, StreamEntry, fits
from arint.errors import ArintError, DeniedError, NotFoundError, NotValidError

PASSPHRASE = b"correct horse battery"


@pytest.fixture(autouse=True, scope="module")
def cheap_keys() -> Iterator[None]:
    """The derivation is slow on purpose; here each is done once."""
    with pytest.MonkeyPatch.context() as patch:
        original = archive._aead
        known: dict[tuple[str, bytes], object] = {}

        def once(line: archive.Line, word: bytes) -> object:
            if (line.salt, word) not in known:
                known[line.salt, word] = original(line, word)
            return known[line.salt, word]

        patch.setattr(archive, "_aead", once)
        yield


def written(contents: list[bytes]) -> bytes:
    file = io.BytesIO()
    file.fileno = lambda: 0  # type: ignore[method-assign]
    writer = Writer(file, PASSPHRASE, release="1", cluster="c", node="n", created=0.0)
    for number, content in enumerate(contents):
        writer.begin(Entry(kind="file", name=f"data/{number}"))
        for start in range(0, len(content), 700_000):
            writer.write(content[start:start + 700_000])
        writer.end()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive.os, "fsync", lambda _: None)
        writer.finish(Manifest(release="1", cluster="c", node="n", created=0.0, took=0.0, etcd="3", revision=1,
                               streams=(), entries=tuple(writer.entries)))
    return file.getvalue()


WHOLE = [b"", b"short", b"x" * (2 * FRAME + 17)]


@pytest.fixture(scope="module")
def whole() -> bytes:
    return written(WHOLE)


def test_what_goes_in_comes_out(tmp_path: Path, whole: bytes) -> None:
    (tmp_path / "a").write_bytes(whole)
    with Reader(tmp_path / "a", PASSPHRASE) as reader:
        assert reader.line.cluster == "c"
        assert [entry.size for entry in reader.verify().entries] == [len(one) for one in WHOLE]
        assert [b"".join(chunks) for _, chunks in reader.entries()] == WHOLE
        assert len([entry for entry, _ in reader.entries()]) == len(WHOLE)  # content that nobody reads is skipped
    assert b"short" not in whole


def test_the_passphrase_must_be_the_one(tmp_path: Path, whole: bytes) -> None:
    (tmp_path / "a").write_bytes(whole)
    with pytest.raises(DeniedError, match="passphrase"):
        Reader(tmp_path / "a", b"another one")
    with pytest.raises(NotFoundError):
        Reader(tmp_path / "b", PASSPHRASE)


@pytest.mark.parametrize(("first", "what"), [
    (b"", "no backup"), (b"hello\n", "no backup"), (b"ARINT BACKUP 9 {}\n", "format 9"),
    (b"ARINT BACKUP 1 {}\n", "cannot be read"), (b"ARINT BACKUP 1", "cannot be read|no backup"),
    (b'ARINT BACKUP 1 {"salt":"AAAAAAAAAAAAAAAAAAAAAA==","n":1073741824,"release":"","cluster":"","node":"",'
     b'"created":0}\n', "unreasonable")])
def test_other_files_are_told_apart(tmp_path: Path, first: bytes, what: str) -> None:
    (tmp_path / "a").write_bytes(first)
    with pytest.raises(NotValidError, match=what):
        Reader(tmp_path / "a", PASSPHRASE)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_touched_byte_and_any_cut_is_seen(tmp_path: Path, whole: bytes, data: st.DataObject) -> None:
    place = data.draw(st.one_of(st.integers(0, 400), st.integers(len(whole) - 1200, len(whole) - 1),
                                st.integers(0, len(whole) - 1)))
    if data.draw(st.booleans()):
        touched = whole[:place]
    else:
        touched = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1:]
    (tmp_path / "a").write_bytes(touched)
    with pytest.raises(ArintError), Reader(tmp_path / "a", PASSPHRASE) as reader:
        reader.verify()


def test_frames_cannot_change_places(tmp_path: Path) -> None:
    whole = written([b"a" * FRAME + b"b" * FRAME])
    size = FRAME + 16 + 5
    at = whole.index((FRAME + 16).to_bytes(4, "big") + b"\x02")
    swapped = whole[:at] + whole[at + size:at + 2 * size] + whole[at:at + size] + whole[at + 2 * size:]
    (tmp_path / "a").write_bytes(swapped)
    with pytest.raises(NotValidError, match="altered"), Reader(tmp_path / "a", PASSPHRASE) as reader:
        reader.verify()


def test_what_a_restored_stream_must_hold() -> None:
    def stream(before: Sequences, after: Sequences) -> StreamEntry:
        return StreamEntry("F-x", {}, {}, before, after, ())

    rest = stream(Sequences(5, 1, 5), Sequences(5, 1, 5))
    assert fits(rest, Sequences(5, 1, 5))
    assert not fits(rest, Sequences(4, 1, 5))
    flowing = stream(Sequences(5, 1, 5), Sequences(8, 3, 10))
    assert fits(flowing, Sequences(6, 2, 7))
    assert not fits(flowing, Sequences(4, 1, 4))
    assert not fits(flowing, Sequences(11, 1, 11))


def test_what_goes_by_age_may_have_gone_until_the_restore() -> None:
    for config in ({"allow_msg_ttl": True}, {"max_age": 7 * 86400 * 10**9}):
        stream = StreamEntry("LEDGER", config, {}, Sequences(5, 3, 7), Sequences(5, 3, 7), ())
        for there in (Sequences(5, 3, 7), Sequences(2, 6, 7), Sequences(0, 8, 7)):
            assert fits(stream, there)
        for wrong in (Sequences(5, 3, 6), Sequences(6, 2, 7), Sequences(6, 3, 8)):
            assert not fits(stream, wrong)
