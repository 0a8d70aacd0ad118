"""The connections of a runner: one open sink each, behind its circuit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from arint.bus.circuit import Circuit
from arint.errors import NotFoundError, RejectedError, SystemUnavailableError
from arint.meters.families import DELIVERY_DURATION
from arint.plugins import Delivery, Sink, SinkContext, load, transports
from arint.resources.kinds import Connection
from arint.resources.variables import resolve

log = logging.getLogger(__name__)

PROBE_TIMEOUT = 10.0


class Outlet:
    """One connection: its sink, opened when first used, and its circuit.

    While the circuit is open `closed` is unset; a task probes the system until it is back.
    """

    def __init__(self, connection: Connection, *, secrets: Mapping[str, bytes], variables: Mapping[str, str],
                 tasks: asyncio.TaskGroup, on_change: Callable[[], None]) -> None:
        self.connection = connection
        self.closed = asyncio.Event()
        self.closed.set()
        self.open_since = 0.0
        self.secrets = secrets
        self.variables = variables
        self._sink: Sink | None = None
        self._opening = asyncio.Lock()
        self._circuit = Circuit()
        self._tasks = tasks
        self._prober: asyncio.Task[None] | None = None
        self._on_change = on_change
        self._duration = DELIVERY_DURATION.at(connection.name)

    async def sink(self) -> Sink:
        """The open sink. Raises what opening raises."""
        if self._sink is None:
            async with self._opening:
                if self._sink is None:
                    self._sink = await self._open()
        return self._sink

    async def _open(self) -> Sink:
        transport = transports().get(self.connection.transport)
        if transport is None or transport.connection is None:
            raise NotFoundError(f"no installed plugin has the transport {self.connection.transport}",
                                where=f"connection/{self.connection.name}", remedy="install it on every node")
        spec = msgspec.convert(resolve(self.connection.spec, self.variables), transport.connection)
        context = SinkContext(name=self.connection.name, spec=spec, secrets=self.secrets,
                              data=self.variables.get("ARINT_DATA", ""))
        opened = await asyncio.to_thread(load(transport.sink), context)
        return opened  # type: ignore[no-any-return]

    async def send(self, delivery: Delivery) -> bytes | None:
        """Deliver through the sink."""
        sink = await self.sink()
        began = time.perf_counter()
        answer = await sink.send(delivery)
        self._duration.observe(time.perf_counter() - began)
        return answer

    def failed(self, error: SystemUnavailableError) -> None:
        """The system was away: open the circuit, and begin to probe."""
        if self._circuit.failed(time.monotonic(), reason=str(error), retry_after=error.retry_after):
            self.closed.clear()
            self.open_since = time.time()
            log.warning("circuit of connection/%s open: %s", self.connection.name, error)
            self._on_change()
            self._prober = self._tasks.create_task(self._probe(), name=f"probe {self.connection.name}")

    @property
    def probed_in(self) -> float:
        """Seconds until it is worth asking again, while the circuit is open."""
        return max(self._circuit.wait(time.monotonic()), 1.0)

    async def _probe(self) -> None:
        while not self._circuit.closed:
            await asyncio.sleep(self._circuit.wait(time.monotonic()))
            if not self._circuit.probe(time.monotonic()):
                continue
            try:
                async with asyncio.timeout(PROBE_TIMEOUT):
                    await (await self.sink()).probe()
            except Exception as error:  # whatever it is, the system cannot be used yet
                self._circuit.failed(time.monotonic(), reason=str(error))
            else:
                self._circuit.succeeded()
        self.closed.set()
        self.open_since = 0.0
        log.info("circuit of connection/%s closed: the system answers", self.connection.name)
        self._on_change()

    async def close(self) -> None:
        """Stop probing, close the sink."""
        if self._prober is not None:
            self._prober.cancel()
        self.closed.set()
        if self._sink is not None:
            with contextlib.suppress(Exception):
                await self._sink.close()


def same_outlet(one: Connection, other: Connection) -> bool:
    """May the open sink stay as it is?"""
    return (one.transport, one.spec) == (other.transport, other.spec)


def options_of(transport: str, options: Mapping[str, Any]) -> Any:
    """A `send` step's further keys as the transport's own struct."""
    found = transports().get(transport)
    if isinstance(options, msgspec.Struct):  # a plugin's own step may have decided already
        return options
    if found is None or found.options is None:
        return dict(options)
    try:
        return msgspec.convert(dict(options), found.options)
    except msgspec.ValidationError as error:  # a service's own words: a flow's were checked at apply
        raise RejectedError(f"the options do not fit {transport}: {error}") from None
