"""One connection with frames on it: reads pieces, writes once a turn of the loop, and ends on what is no frame."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

from arint.calls.frames import Frame, FrameError, Reader, encode

log = logging.getLogger(__name__)

MOST_UNREAD = 64 * 2**20
"""Octets that may wait for a peer that does not read, before the connection is cut."""
HIGH_WATER = 2**20


class Link(asyncio.Protocol):
    """The base of both ends. `clogged`: the peer reads more slowly than is written."""

    def __init__(self) -> None:
        self.clogged = False
        self._loop = asyncio.get_running_loop()
        self._reader = Reader()
        self._waiting: list[bytes] = []
        self._transport: Any = None

    def on_frame(self, frame: Frame) -> None:
        """Called with each frame, in order."""
        raise NotImplementedError

    def on_end(self) -> None:
        """Called once, when the connection is gone."""

    def put(self, frame: Frame) -> None:
        """Send soon, together with what else is put in this turn of the loop. Raises what encoding raises."""
        data = encode(frame)
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)

    def _flush(self) -> None:
        data = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting.clear()
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(data)
        if self.clogged and self._transport.get_write_buffer_size() > MOST_UNREAD:
            log.warning("a peer does not read what it is sent: its connection is cut")
            self._transport.abort()

    @property
    def gone(self) -> bool:
        """Is the connection closed, or about to be?"""
        return self._transport is None or self._transport.is_closing()

    def close(self) -> None:
        """Send what waits, and part."""
        if self._transport is not None and not self._transport.is_closing():
            if self._waiting:
                self._flush()
            self._transport.close()

    def abort(self) -> None:
        """Part at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = transport
        cast(asyncio.Transport, transport).set_write_buffer_limits(high=HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        """A piece of whatever size."""
        try:
            for frame in self._reader.feed(data):
                self.on_frame(frame)
        except FrameError as error:
            log.warning("the connection of a call is cut: %s", error)
            self.abort()

    def pause_writing(self) -> None:
        """The peer is slow."""
        self.clogged = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self.clogged = False

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._waiting.clear()
        self.on_end()
