"""What a worker process has in hand, in memory that outlives it: killed, its next process gives it back at once.

The broker would deliver such messages again only when their time (`ACK_WAIT`) is over. The file is mapped into memory:
a message costs two short copies and no system call, and what was written stands in the page cache, whatever ends the
process. An entry may be wrong: what was settled meanwhile is not pending any more, and the broker ignores the answer.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
from pathlib import Path

from arint.errors import ConflictError

SLOTS = 4096
"""Messages in hand that are remembered; of more than these the broker waits for the time to end."""
SLOT = 256
NONE = -1
_SIZE = SLOTS * SLOT
_length = struct.Struct("<H")


class InHand:
    """The answer subjects of the messages that one process has in hand.

    The file is locked for as long as the process lives. Raises ConflictError where another one has it, and OSError.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, _SIZE)
            self._memory = mmap.mmap(self._descriptor, _SIZE)
        except BlockingIOError:
            os.close(self._descriptor)
            raise ConflictError("another process of this instance still runs", where=str(file)) from None
        except BaseException:
            os.close(self._descriptor)
            raise
        self._free = list(range(SLOTS - 1, -1, -1))  # the lowest is taken first: few pages are ever touched
        self.left = self._found()
        """What the process before this one had in hand when it ended."""

    def _found(self) -> list[bytes]:
        found = []
        for start in range(0, _SIZE, SLOT):
            (length,) = _length.unpack_from(self._memory, start)
            if 0 < length <= SLOT - 2:
                found.append(self._memory[start + 2:start + 2 + length])
        return found

    def given_back(self) -> None:
        """What was left is dealt with."""
        for start in range(0, _SIZE, SLOT):
            if _length.unpack_from(self._memory, start)[0]:
                _length.pack_into(self._memory, start, 0)
        self.left = []

    def take(self, reply: bytes) -> int:
        """Remember it; returns where, for `let_go`."""
        if len(reply) > SLOT - 2 or not self._free:
            return NONE
        slot = self._free.pop()
        start = slot * SLOT
        self._memory[start + 2:start + 2 + len(reply)] = reply
        _length.pack_into(self._memory, start, len(reply))  # last: half a subject is none
        return slot

    def let_go(self, slot: int) -> None:
        """It is settled."""
        if slot != NONE:
            _length.pack_into(self._memory, slot * SLOT, 0)
            self._free.append(slot)

    def close(self) -> None:
        """All is settled: nothing is left for another process. The lock goes with this one."""
        with contextlib.suppress(OSError):  # a service with a user of its own may not
            self._file.unlink(missing_ok=True)
