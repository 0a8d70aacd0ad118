"""Several messages of one stream stored together or not at all, each under a subject that held nothing before."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from arint.bus import headers as header_lines
from arint.bus.connection import Bus
from arint.errors import RejectedError, TimedOutError, UnreachableError
from arint.plugins import FullError

MOST = 1000
"""Messages in one batch: the broker's limit."""
_FULL = frozenset({10077, 10047, 10023, 10028, 10054, 10002})


class Part(NamedTuple):
    """One of them."""

    subject: str
    headers: Mapping[str, str | bytes]
    body: bytes


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct):
    seq: int = 0
    error: _Error | None = None


async def store_together(bus: Bus, parts: Sequence[Part], timeout: float = 10.0) -> int | None:
    """Returns the sequence of the first one.

    None: nothing was stored by this call, since one of the subjects holds a message; or nobody knows, since the answer
    was lost. In both cases the subjects tell. Raises FullError when the stream takes no more, RejectedError for a
    message that is larger than the bus carries.
    """
    name = secrets.token_hex(8)
    frames, last = [], len(parts)
    for number, part in enumerate(parts, 1):
        headers = {**part.headers, "Nats-Expected-Last-Subject-Sequence": "0", "Nats-Batch-Id": name,
                   "Nats-Batch-Sequence": str(number)}
        if len(part.body) + sum(len(key) + len(value) for key, value in headers.items()) + 512 > bus.max_payload:
            raise RejectedError(f"the message is larger than {bus.max_payload} bytes", where=part.subject)
        if number < last:
            frames.append(header_lines.frame(part.subject, "", header_lines.encode(headers), part.body))
    try:
        await bus.wait_connected(timeout)
        bus.wire.put(b"".join(frames))
        reply = await bus.request(parts[-1].subject, parts[-1].body, timeout,
                                  {**headers, "Nats-Batch-Commit": "1"})
    except (TimedOutError, UnreachableError):
        return None
    ack = msgspec.json.decode(reply.body, type=_Ack)
    if ack.error is None:
        return ack.seq - last + 1
    if ack.error.err_code in _FULL:
        raise FullError(ack.error.description)
    return None
