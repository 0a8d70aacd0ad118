"""The archive: one file, a line that says what it is, then frames, each encrypted and none movable.

    ARINT BACKUP 1 {"salt":…}\n      how the key is derived from the passphrase (scrypt), who made it; not secret
    length(4) kind(1) ciphertext      frames: AES-256-GCM, the frame's number as nonce (each archive has a key of its
    …                                 own), the first line's digest and the kind authenticated with it
    offset(8) number(8) b"END\n"      where the manifest's frame stands, and which one it is

A frame that was altered, moved, doubled or left out does not open; a file that was cut has no end. Entries follow each
other, so that it is written and read in one pass and little memory.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

import msgspec

from arint.backup.manifest import Entry, Manifest
from arint.errors import DeniedError, NotFoundError, NotValidError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FORMAT = 1
FRAME = 2**20
LEAST_PASSPHRASE = 8
_MAGIC = b"ARINT BACKUP "
_LONGEST_LINE = 4096
_LONGEST_FRAME = 256 * 2**20  # the manifest's; all others are FRAME at most
_TAG = 16
_CHECK, _BEGIN, _DATA, _END, _MANIFEST = range(5)
_HEAD = struct.Struct(">IB")
_TRAILER = struct.Struct(">QQ4s")
_THE_END = b"END\n"
_MIB = 2**20


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """The first line: all that can be read without the passphrase. `n`, `r` and `p` are scrypt's."""

    salt: str
    n: int = 2**16
    r: int = 8
    p: int = 1
    release: str
    cluster: str
    node: str
    created: float


class Writer:
    """Writes an archive into `file`: `begin`, any number of `write`, `end`, and so on; last `finish`."""

    def __init__(self, file: IO[bytes], passphrase: bytes, *, release: str, cluster: str, node: str,
                 created: float) -> None:
        self._file = file
        line = Line(salt=base64.b64encode(os.urandom(16)).decode(), release=release, cluster=cluster, node=node,
                    created=created)
        first = _MAGIC + str(FORMAT).encode() + b" " + msgspec.json.encode(line) + b"\n"
        self._frames = _Frames(line, first, passphrase)
        self._file.write(first)
        self._put(_CHECK, b"")
        self._entry: Entry | None = None
        self._digest = hashlib.sha256()
        self._buffer = bytearray()
        self._size = 0
        self.written = 0
        """Bytes of content so far."""
        self.entries: list[Entry] = []

    def begin(self, entry: Entry) -> None:
        """The next entry; its size and digest are found while it is written."""
        self._entry, self._digest, self._size = entry, hashlib.sha256(), 0
        self._put(_BEGIN, msgspec.json.encode(entry))

    def write(self, data: bytes) -> None:
        """More of the entry's content."""
        self._digest.update(data)
        self._size += len(data)
        self.written += len(data)
        self._buffer += data
        while len(self._buffer) >= FRAME:
            self._put(_DATA, bytes(self._buffer[:FRAME]))
            del self._buffer[:FRAME]

    def end(self) -> Entry:
        """The entry is whole."""
        assert self._entry is not None
        if self._buffer:
            self._put(_DATA, bytes(self._buffer))
            self._buffer.clear()
        done = msgspec.structs.replace(self._entry, size=self._size, sha256=self._digest.hexdigest())
        self._put(_END, msgspec.json.encode(done))
        self.entries.append(done)
        self._entry = None
        return done

    def finish(self, manifest: Manifest) -> None:
        """The manifest, and the end; all of it is on the disk then."""
        offset, number = self._file.tell(), self._frames.number
        self._put(_MANIFEST, msgspec.json.encode(manifest))
        self._file.write(_TRAILER.pack(offset, number, _THE_END))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _put(self, kind: int, content: bytes) -> None:
        sealed = self._frames.seal(kind, content)
        self._file.write(_HEAD.pack(len(sealed), kind))
        self._file.write(sealed)


class Reader:
    """Reads the archive `path`; use `with`. `line` says whose it is.

    Raises NotFoundError, NotValidError (no archive, another format, damaged, cut), DeniedError (a wrong passphrase).
    """

    def __init__(self, path: Path, passphrase: bytes) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
        except FileNotFoundError:
            raise NotFoundError("there is no such file", where=str(path)) from None
        except OSError as error:
            raise DeniedError(f"the file cannot be read: {error.strerror}", where=str(path)) from None
        try:
            first = self._file.readline(_LONGEST_LINE)
            self.line = _read_line(first, path)
            self._frames = _Frames(self.line, first, passphrase)
            self._start = self._file.tell()
            self._check_passphrase()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def manifest(self) -> Manifest:
        """What is in it, without reading the rest."""
        size = self._file.seek(0, os.SEEK_END)
        if size < self._start + _TRAILER.size:
            raise self._damaged("it is cut")
        self._file.seek(size - _TRAILER.size)
        offset, number, end = _TRAILER.unpack(self._file.read(_TRAILER.size))
        if end != _THE_END or not self._start <= offset < size:
            raise self._damaged("its end is missing")
        self._file.seek(offset)
        self._frames.number = number
        kind, content = self._next()
        if kind != _MANIFEST:
            raise self._damaged("its manifest is not where it should be")
        try:
            return msgspec.json.decode(content, type=Manifest)
        except msgspec.MsgspecError as error:
            raise NotValidError(f"the manifest is not of this release's format: {error}", where=str(self.path),
                                remedy=f"use the release that wrote it: {self.line.release}") from None

    def entries(self) -> Iterator[tuple[Entry, Iterator[bytes]]]:
        """Every entry with its content, in order; content that is not read is skipped. Digests are checked."""
        self._rewind()
        while True:
            kind, content = self._next()
            if kind == _MANIFEST:
                return
            if kind != _BEGIN:
                raise self._damaged("an entry has no beginning")
            entry = msgspec.json.decode(content, type=Entry)
            chunks = self._content(entry)
            yield entry, chunks
            for _ in chunks:
                pass

    def verify(self) -> Manifest:
        """Read all of it, and compare with the manifest."""
        manifest = self.manifest()
        expected = {(entry.kind, entry.name): entry for entry in manifest.entries}
        found = 0
        for entry, chunks in self.entries():
            if (entry.kind, entry.name) not in expected:
                raise self._damaged(f"{entry.name} is not in its manifest")
            digest = hashlib.sha256()
            for chunk in chunks:
                digest.update(chunk)
            if digest.hexdigest() != expected[entry.kind, entry.name].sha256:
                raise self._damaged(f"{entry.name} is not what was copied")
            found += 1
        if found != len(manifest.entries):
            raise self._damaged(f"{len(manifest.entries) - found} entries are missing")
        return manifest

    def _content(self, entry: Entry) -> Iterator[bytes]:
        digest = hashlib.sha256()
        while True:
            kind, content = self._next()
            if kind == _DATA:
                digest.update(content)
                yield content
            elif kind == _END and msgspec.json.decode(content, type=Entry).sha256 == digest.hexdigest():
                return
            else:
                raise self._damaged(f"{entry.name} has no end")

    def _rewind(self) -> None:
        self._file.seek(self._start)
        self._frames.number = 0
        self._next()

    def _check_passphrase(self) -> None:
        try:
            self._next()
        except NotValidError:
            raise DeniedError("the passphrase does not open this backup, or its first line was altered",
                              where=str(self.path), remedy="give the passphrase that it was made with") from None

    def _next(self) -> tuple[int, bytes]:
        head = self._file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise self._damaged("it is cut")
        length, kind = _HEAD.unpack(head)
        if length > (_LONGEST_FRAME if kind == _MANIFEST else FRAME + _TAG):
            raise self._damaged("a frame is too long")
        sealed = self._file.read(length)
        content = self._frames.open(kind, sealed) if len(sealed) == length else None
        if content is None:
            raise self._damaged(f"frame {self._frames.number} was altered" if len(sealed) == length else "it is cut")
        return kind, content

    def _damaged(self, how: str) -> NotValidError:
        return NotValidError(f"the backup is damaged: {how}", where=str(self.path),
                             remedy="take another copy of it, or an earlier backup")


class _Frames:
    """Seals and opens frames in order."""

    def __init__(self, line: Line, first: bytes, passphrase: bytes) -> None:
        self.number = 0
        self._aead = _aead(line, passphrase)
        self._first = hashlib.sha256(first).digest()

    def seal(self, kind: int, content: bytes) -> bytes:
        sealed = self._aead.encrypt(self.number.to_bytes(12, "big"), content, self._first + bytes([kind]))
        self.number += 1
        return sealed

    def open(self, kind: int, sealed: bytes) -> bytes | None:
        """None where it is not this frame."""
        from cryptography.exceptions import InvalidTag

        try:
            content = self._aead.decrypt(self.number.to_bytes(12, "big"), sealed, self._first + bytes([kind]))
        except (InvalidTag, ValueError):
            return None
        self.number += 1
        return content


def _aead(line: Line, passphrase: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    key = Scrypt(salt=base64.b64decode(line.salt), length=32, n=line.n, r=line.r, p=line.p).derive(passphrase)
    return AESGCM(key)


def _read_line(first: bytes, path: Path) -> Line:
    """Raises NotValidError. The cost that a foreign file may ask for is bounded."""
    magic, _, rest = first.partition(_MAGIC)
    number, _, text = rest.partition(b" ")
    if magic or not rest:
        raise NotValidError("this is no backup of ARINT", where=str(path))
    if number != str(FORMAT).encode():
        raise NotValidError(f"the backup has format {number[:10].decode(errors='replace')}, and this release reads "
                            f"format {FORMAT}", where=str(path), remedy="use the release that wrote it")
    try:
        line = msgspec.json.decode(text, type=Line)
        salt = base64.b64decode(line.salt, validate=True)
    except (msgspec.MsgspecError, ValueError):
        raise NotValidError("the backup's first line cannot be read", where=str(path),
                            remedy="take another copy of it, or an earlier backup") from None
    cheap = 2 <= line.n <= 2**20 and line.n & (line.n - 1) == 0 and 1 <= line.r <= 16 and 1 <= line.p <= 4
    if not cheap or 128 * line.n * line.r > 512 * _MIB or len(salt) < 8:
        raise NotValidError("the backup asks for an unreasonable derivation of its key", where=str(path))
    return line


def checked_passphrase(passphrase: bytes, where: str) -> bytes:
    """Raises NotValidError for one that is too short to protect keys."""
    if len(passphrase) < LEAST_PASSPHRASE:
        raise NotValidError(f"the passphrase has fewer than {LEAST_PASSPHRASE} characters", where=where,
                            remedy="the archive holds the cluster's keys: take a long one")
    return passphrase
