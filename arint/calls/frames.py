"""What stands on the socket: length-prefixed msgpack frames, told apart by call, many calls on one connection. Pure.

A length is four bytes, the least first. Who calls sends Call, Part, Credit and Cancel; who answers sends the others.
A body of a known size goes in one frame; a stream goes in Parts, of which no more are under way than its reader gave
Credit for. Until the first Credit of a call's body nothing of it is sent: so a call that is Refused can go elsewhere.
"""

from __future__ import annotations

from typing import Any

import msgspec

from arint.failures import Told
from arint.message import Message

LARGEST = 66 * 2**20
"""Octets of one frame: the largest body that a channel takes, and its headers."""
WINDOW = 256 * 2**10
"""Octets of a stream that may be under way."""
PART = 64 * 2**10
"""Octets of one part of a stream."""
_PREFIX = 4


class FrameError(Exception):
    """What came is no frame: the connection is of no further use."""


class Call(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Do this within `timeout` seconds. `streamed`: the body follows in Parts."""

    id: int
    target: str
    timeout: float
    message: Message
    streamed: bool = False


class Answered(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """It is done. What is None is as it was in the call. `streamed`: the body follows in Parts."""

    id: int
    body: bytes | None = None
    content_type: str = ""
    headers: dict[str, str] | None = None
    variables: dict[str, Any] | None = None
    streamed: bool = False


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """It failed; also in the middle of a stream."""

    id: int
    told: Told


class Part(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """A part of the call's or the answer's body."""

    id: int
    data: bytes
    last: bool = False


class Credit(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """So many octets more may be sent."""

    id: int
    octets: int


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Nobody waits for it any more."""

    id: int


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """It was not begun, and will not be: ask another."""

    id: int


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """The first frame: who answers here, how many calls at once, and whether bodies are wanted as streams."""

    instance: str
    concurrency: int = 1
    streams: bool = False


class Leaving(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """Ask others from now on; what is under way will be answered."""


Frame = Call | Answered | Failed | Part | Credit | Cancel | Refused | Hello | Leaving
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Frame).decode


def encode(frame: Frame) -> bytes:
    """The frame with its length. Raises ValueError or TypeError for what msgpack cannot hold."""
    data = _encode(frame)
    return len(data).to_bytes(_PREFIX, "little") + data


class Reader:
    """Makes frames of what arrives, in whatever pieces."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """All frames that are complete now. Raises FrameError."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted():
                return []
            data = bytes(self._rest)
            self._rest.clear()
        frames: list[Frame] = []
        view, at, end = memoryview(data), 0, len(data)
        while end - at >= _PREFIX:
            size = int.from_bytes(view[at:at + _PREFIX], "little")
            if size > LARGEST:
                raise FrameError(f"a frame of {size} bytes; at most {LARGEST} are taken")
            if end - at - _PREFIX < size:
                break
            at += _PREFIX
            try:
                frames.append(_decode(view[at:at + size]))
            except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
                raise FrameError(f"no frame: {error}") from None
            at += size
        if at < end:
            self._rest += view[at:]
        return frames

    def _wanted(self) -> int:
        """Octets until the frame at hand is whole: a large one is not looked at again with each piece."""
        if len(self._rest) < _PREFIX:
            return _PREFIX
        size = int.from_bytes(self._rest[:_PREFIX], "little")
        return _PREFIX + size if size <= LARGEST else _PREFIX
