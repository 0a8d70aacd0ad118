"""Bytes as text and back: encodings, byte order marks, lines of bounded length; errors tell the byte."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import BinaryIO, cast

from arint.errors import RejectedError

LARGEST_RECORD = 4 * 2**20
"""Characters of one line, one field, one record: what is longer is no record but a mistake, such as a missing quote."""

LINE_ENDS = {"lf": "\n", "crlf": "\r\n", "cr": "\r"}
MARK = "\ufeff"
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
          (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_LONGEST_MARK = 4
_PIECE = 65536


def decoded(body: bytes, encoding: str) -> str:
    """The text, without a byte order mark. Raises RejectedError."""
    actual, mark = _without_mark(body[:_LONGEST_MARK], encoding)
    try:
        return body[mark:].decode(actual)
    except UnicodeDecodeError as error:
        raise _wrong(actual, mark + error.start) from None


def encoded(text: str, encoding: str, *, mark: bool = False) -> bytes:
    """The bytes. Raises RejectedError for a character that the encoding does not have."""
    try:
        body = text.encode(encoding)
        # utf-16 and utf-32 without a byte order begin with their mark anyway
        return MARK.encode(encoding) + body if mark and not _without_mark(body[:_LONGEST_MARK], encoding)[1] else body
    except UnicodeEncodeError as error:
        raise RejectedError(f"character {error.start + 1} does not exist in {encoding}",
                            remedy="write with another encoding, such as utf-8") from None


def recoded(stream: BinaryIO, encoding: str) -> Iterator[bytes]:
    """A stream as UTF-8, piece by piece, without a byte order mark. Raises RejectedError."""
    head = filled(stream, _LONGEST_MARK)
    actual, count = _without_mark(head, encoding)
    decoder = codecs.getincrementaldecoder(actual)()
    data, ends = head[count:], False
    while not ends:
        if not data:
            data = stream.read(_PIECE)
            ends = not data
        count += len(data)
        try:
            text = decoder.decode(data, ends)
        except UnicodeDecodeError as error:
            raise _wrong(actual, count - len(error.object) + error.start) from None
        if text:
            yield text.encode()
        data = b""


class Lines:
    """The lines of a stream, one by one, with their ends; `number` is that of the line given last.

    `any_end`: a line ends with LF, CR LF or CR alone; otherwise with LF. Raises RejectedError.
    """

    def __init__(self, stream: BinaryIO, encoding: str, *, any_end: bool = True) -> None:
        head = filled(stream, _LONGEST_MARK)
        self._encoding, mark = _without_mark(head, encoding)
        self._bytes = _Counted(stream, head[mark:], mark)
        self._text = io.TextIOWrapper(cast("BinaryIO", self._bytes), self._encoding, newline="" if any_end else "\n")
        self._readline = self._text.readline
        self.number = 0

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        try:
            line = self._readline(LARGEST_RECORD)
        except UnicodeDecodeError as error:
            raise _wrong(self._encoding, self._bytes.count - len(error.object) + error.start) from None
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) >= LARGEST_RECORD:
            raise RejectedError(f"line {self.number} is longer than {LARGEST_RECORD} characters")
        return line

    def skip(self, count: int) -> None:
        """Pass over lines."""
        for _ in range(count):
            next(self, None)


class _Counted(io.BufferedIOBase):
    """A stream that knows how much was read of it; `head` was read before."""

    def __init__(self, stream: BinaryIO, head: bytes, mark: int) -> None:
        self._stream = stream
        self._head = head
        self.count = mark

    def readable(self) -> bool:
        """It is."""
        return True

    def read1(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        data, self._head = (self._head, b"") if self._head else (self._stream.read(max(size, _PIECE)), b"")
        self.count += len(data)
        return data

    read = read1  # type: ignore[assignment]


def filled(stream: BinaryIO, size: int) -> bytes:
    """So many bytes, unless the stream ends before."""
    data = b""
    while len(data) < size and (more := stream.read(size - len(data))):
        data += more
    return data


def _without_mark(head: bytes, encoding: str) -> tuple[str, int]:
    """The encoding to use, and the length of the byte order mark. It wins among Unicode's encodings, and only there:
    in others the same bytes are letters.
    """
    if codecs.lookup(encoding).name.startswith("utf"):
        for mark, name in _MARKS:
            if head.startswith(mark):
                return name, len(mark)
    return encoding, 0


def _wrong(encoding: str, position: int) -> RejectedError:
    return RejectedError(f"the byte at {position} is not {encoding}", remedy="declare the encoding it has: encoding: …")
