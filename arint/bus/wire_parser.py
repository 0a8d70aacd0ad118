"""Reads what the broker sends: whole messages straight from the buffer, everything else as nats-py does it.

nats-py's parser tries regular expressions and awaits a coroutine for each message, a fifth of what a worker does. Here
a message is two searches and three slices. The protocol: https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nats.errors import ProtocolError
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

Deliver = Callable[[int, bytes, bytes, bytes, bytes], Awaitable[None] | None]
"""Subscription, subject, reply subject, body, raw header block. What it returns is awaited."""


class WireParser(Parser):  # type: ignore[misc]
    """Gives each message to `deliver`; PING, INFO, errors and the like are left to nats-py's own parser."""

    def __init__(self, client: object, deliver: Deliver) -> None:
        super().__init__(client)
        self._deliver = deliver

    def reset(self) -> None:
        """Begin anew, on a new connection."""
        super().reset()
        self._missing = 0

    async def parse(self, data: bytes = b"") -> None:
        """Take what was read. Raises ProtocolError for what is not NATS."""
        if self.state != AWAITING_CONTROL_LINE:  # the slow parser stopped within a message: it goes on
            await super().parse(data)
            return
        self.buf += data
        if len(self.buf) < self._missing:
            return
        self._missing = 0
        await self._messages()
        if self.buf and not self._missing:
            await super().parse()

    async def _messages(self) -> None:
        """Every whole message at the head of the buffer."""
        buffer, at = self.buf, 0
        view = bytes(buffer)
        try:
            while (end := view.find(b"\r\n", at)) >= 0:
                parts = view[at:end].split()
                if not parts or (operation := parts[0]) not in (b"HMSG", b"MSG"):
                    break
                sid, size, headers = _numbers(parts, operation == b"HMSG")
                begin, finish = end + 2, end + 2 + size
                if len(view) < finish + 2:
                    self._missing = finish + 2 - at
                    break
                at = finish + 2
                reply = parts[3] if len(parts) == (6 if headers else 5) else b""
                waiting = self._deliver(sid, parts[1], reply, view[begin + headers:finish],
                                        view[begin:begin + headers])
                if waiting is not None:
                    await waiting
        finally:
            del buffer[:at]


def _numbers(parts: list[bytes], has_headers: bool) -> tuple[int, int, int]:
    """Subscription, octets in all, and how many of them are headers."""
    try:
        return int(parts[2]), int(parts[-1]), int(parts[-2]) if has_headers else 0
    except (ValueError, IndexError):
        raise ProtocolError("nats: malformed MSG") from None
