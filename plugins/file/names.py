"""Names of files from templates: what the message says is put in, and never leads out of the folder."""

from __future__ import annotations

import re
import time
from typing import Any

from arint.errors import RejectedError
from arint.flows.expressions import Template
from arint.flows.state import State
from arint.flows.step import StepError
from arint.message import Message

_HOLE = re.compile(r"(\{\{.*?\}\})", re.DOTALL)
_MARK = re.compile(r"%(.)", re.DOTALL)
_MARKS = "YmdHMSjVG%"
LONGEST = 255
"""Bytes of one name, in every usual file system."""
_EFFECTS: Any = None


class Name:
    """One template. Raises StepError for what is none."""

    def __init__(self, text: str) -> None:
        self._pieces = _HOLE.split(text)
        for piece in self._pieces[::2]:
            for mark in _MARK.findall(piece + " " if piece.endswith("%") else piece):
                if mark not in _MARKS:
                    raise StepError(f"%{mark.strip()} is no part of a time; %% stands for %", (), "such as %Y-%m-%d")
        self._whole = Template(text)
        self._has_time = any("%" in piece for piece in self._pieces[::2])

    def fill(self, message: Message) -> tuple[tuple[bytes, ...], bytes]:
        """The folders and the name for this message. Raises RejectedError for what is no name within the folder."""
        template = self._whole
        if self._has_time:
            moment = time.gmtime(message.created or time.time())
            template = Template("".join(piece if index % 2 else time.strftime(piece, moment)
                                        for index, piece in enumerate(self._pieces)))
        filled = template.fill(State(message, "", "", _EFFECTS))
        *folders, name = (_checked(part) for part in filled.split("/"))
        return tuple(folders), name


def _checked(part: str) -> bytes:
    if part in ("", ".", ".."):
        raise RejectedError("the name that the message gives leads out of the folder, or is empty",
                            remedy="take another field, or let a step before change it")
    if any(sign < " " or sign == "\x7f" for sign in part):
        raise RejectedError("the name that the message gives has a control character")
    try:
        name = part.encode()
    except UnicodeEncodeError:
        raise RejectedError("the name that the message gives is no text") from None
    if len(name) > LONGEST - 20:
        raise RejectedError(f"the name that the message gives has more than {LONGEST - 20} bytes")
    return name


def numbered(name: bytes, number: int) -> bytes:
    """`a.json` as `a-2.json`; the first keeps its name."""
    if number == 1:
        return name
    root, dot, ending = name.rpartition(b".")
    return b"%b-%d.%b" % (root, number, ending) if dot and root else b"%b-%d" % (name, number)
