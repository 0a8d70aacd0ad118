"""What the caller and the administration service say to each other over the bus, in MessagePack.

    admin.<user>.<operation>                the call (Asked); one member of the queue group takes it
    admin.<user>._.<service>.<call>         to the one who took it: Seen, Cancel
    reply.<user>.<connection>.<call>        back to the caller: frames, numbered from 1

A user's certificate may publish on `admin.<user>.>` alone and listen on `reply.<user>.>` alone, so the subject proves
who calls. At most WINDOW frames are under way that the caller has not seen: who reads slowly slows the operation down.
"""

from __future__ import annotations

import re

import msgspec

from arint.errors import NotValidError
from arint.failures import Told
from arint.operations.progress import Step

QUEUE = "admin"
CALLS = "admin.*.*"
PART = 256 * 1024
"""Bytes of a value in one frame."""
WINDOW = 16
LONGEST_VALUE = 128 * 2**20
LONGEST_CALL = 6 * 2**20
"""Bytes of the arguments of one call: one message of the bus holds 8 MiB."""
ALIVE = 1.0
"""Seconds between two signs of life, from both sides."""
SILENCE = 6.0
"""Seconds without one after which the other side is gone."""
_USER = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """The call: the encoded arguments, whether what is more than reading is to be refused, the caller's release."""

    arguments: msgspec.Raw
    read_only: bool = False
    release: str = ""


class Seen(msgspec.Struct, frozen=True, array_like=True, tag="seen"):
    """The caller listens, and has taken all frames up to this one."""

    number: int


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """The caller wants no more."""


class Begun(msgspec.Struct, frozen=True, array_like=True, tag="begun"):
    """Who took the call, and where it listens."""

    control: str
    node: str


class Progressed(msgspec.Struct, frozen=True, array_like=True, tag="step"):
    """Progress."""

    step: Step


class Part(msgspec.Struct, frozen=True, array_like=True, tag="part"):
    """The beginning of a value, or more of it."""

    data: bytes


class Item(msgspec.Struct, frozen=True, array_like=True, tag="item"):
    """The end of one value of a stream."""

    data: bytes


class Result(msgspec.Struct, frozen=True, array_like=True, tag="result"):
    """The end of the result; the last frame."""

    data: bytes


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """The operation raised; the last frame."""

    error: Told
    problems: tuple[str, ...] = ()


class Alive(msgspec.Struct, frozen=True, array_like=True, tag="alive"):
    """It still works at it."""


Frame = Begun | Progressed | Part | Item | Result | Failed | Alive


class Numbered(msgspec.Struct, frozen=True, array_like=True):
    """A frame with its number: one that was lost on the way is missed."""

    number: int
    frame: Frame


encode = msgspec.msgpack.Encoder().encode
numbered = msgspec.msgpack.Decoder(Numbered)
asked = msgspec.msgpack.Decoder(Asked)
control = msgspec.msgpack.Decoder(Seen | Cancel)


def user_name(name: str) -> str:
    """The name, if it can be a user's. Raises NotValidError."""
    if not _USER.fullmatch(name):
        raise NotValidError(f"{name!r} is no name for a user", remedy="write a-z, 0-9 and -, at most 63 of them")
    return name


def call_subject(user: str, operation: str) -> str:
    """Where a call goes."""
    return f"admin.{user}.{operation}"


def control_subject(user: str, service: str, call: str) -> str:
    """Where the one who took a call listens."""
    return f"admin.{user}._.{service}.{call}"


def reply_prefix(user: str, connection: str = "") -> str:
    """The beginning of where a caller's connection listens, or of where all of the user's do."""
    return f"reply.{user}.{connection}"
