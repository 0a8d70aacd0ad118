"""The NATS client as the bus needs it: raw handlers, writes gathered per turn of the loop, and no way to give up.

Everything that touches the inside of nats-py stands in this file and in its parser. Why it does: a subscription of
nats-py parses every header and goes through a queue and a task for each message (half the speed), some server errors
close the client for good, and a TLS peer that has gone silent holds up the reconnection by 30 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.subscription import Subscription

from arint.bus.wire_parser import WireParser

Handler = Callable[[bytes, bytes, bytes, bytes], None]
"""subject, reply subject, body, raw header block (empty where there is none). Called in the reading task: be quick."""


class Wire(Client):  # type: ignore[misc]
    """One connection to the bus."""

    def __init__(self, on_down: Callable[[], None], fresh_tls: Callable[[], ssl.SSLContext | None]) -> None:
        super().__init__()
        self._fresh_tls = fresh_tls
        self._pending: list[bytes]
        self._pending_data_size: int
        self._on_down = on_down
        self._raw: dict[int, Handler] = {}
        self._scheduled = False
        self._ps = WireParser(self, self._deliver)

    def listen(self, subject: str, queue: str, handler: Handler) -> int:
        """Subscribe with a raw handler; replayed after every reconnection. Returns the subscription's number."""
        self._sid += 1
        subscription = Subscription(self, self._sid, subject, queue=queue)
        self._subs[self._sid] = subscription
        self._raw[self._sid] = handler
        if self.is_connected:  # otherwise the reconnection sends it
            self.put(f"SUB {subject} {queue} {self._sid}\r\n".encode())
        return int(self._sid)

    def unlisten(self, number: int) -> None:
        """Take back a subscription."""
        self._raw.pop(number, None)
        if self._subs.pop(number, None) is not None and self.is_connected:
            self.put(f"UNSUB {number}\r\n".encode())

    async def unlisten_gently(self, number: int, within: float) -> None:
        """Take back a subscription, yet hear what the server had sent before it knew; at most `within` seconds."""
        if self._subs.pop(number, None) is not None and self.is_connected:
            self.put(f"UNSUB {number}\r\n".encode())
            self.flush_now()
            with contextlib.suppress(Exception):  # the connection broke: nothing more comes
                await self.flush(within)
        self._raw.pop(number, None)

    def put(self, data: bytes) -> None:
        """Send commands; what is put in one turn of the loop goes out in one write, after what was put before."""
        self._pending.append(data)
        self._pending_data_size += len(data)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._write_pending)

    def flush_now(self) -> None:
        """Send what was put, without waiting for the end of this turn of the loop."""
        if self.is_connected and self._transport and self._pending:
            data, self._pending, self._pending_data_size = b"".join(self._pending), [], 0
            self._transport.write(data)

    def _write_pending(self) -> None:
        self._scheduled = False
        self.flush_now()

    async def _select_next_server(self) -> None:
        """Before each attempt to connect: certificates may have been renewed since the last."""
        if (context := self._fresh_tls()) is not None:
            self.options["tls"] = context
        await super()._select_next_server()

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self._deliver(sid, subject, reply, data, headers or b"")

    def _deliver(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        handler = self._raw.get(sid)
        if handler is None:  # what was still coming when somebody stopped to listen
            return
        try:
            handler(subject, reply, data, headers)
        except Exception as error:  # whatever it is, it must not end the reading of the connection
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"the handler of {subject.decode()} failed", "exception": error})

    async def _process_err(self, err_msg: str) -> None:
        """Errors that end the connection on the server's side are a reason to dial again, not to give up."""
        if "permissions violation" in err_msg:
            await super()._process_err(err_msg)
        else:
            await self._process_op_err(ConnectionError(err_msg))

    async def _process_op_err(self, e: Exception) -> None:
        if self.is_connected and self._transport:
            # Not a polite close: a silent TLS peer would hold it up, and with it the reconnection.
            self._transport._io_writer.transport.abort()
        await super()._process_op_err(e)
        self._on_down()
