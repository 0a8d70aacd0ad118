"""JetStream's management calls: JSON requests and their errors."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from arint.bus.connection import Bus
from arint.errors import ArintError, ConflictError, NotFoundError, UnreachableError

NOT_FOUND = frozenset({10014, 10037, 10059})  # consumer, message, stream
IN_USE = frozenset({10058, 10013, 10148})     # a stream, a consumer of that name with another configuration
AWAY = frozenset({10008, 10009, 10023, 10039, 10074, 10118})  # no leader or no quorum yet: worth another try


class BusError(ArintError):
    """JetStream refused; `code` is its error code."""

    def __init__(self, what: str, *, code: int, where: str | None = None, remedy: str | None = None) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.code = code


def refusal(error: dict[str, Any], where: str) -> ArintError:
    """JetStream's error as one of ours."""
    code, what = int(error.get("err_code", 0)), str(error.get("description", "refused"))
    if code in NOT_FOUND:
        return NotFoundError(what, where=where)
    if code in IN_USE:
        return ConflictError(what, where=where)
    if code in AWAY:
        return UnreachableError(what, where=where, remedy="the bus is starting or has no quorum; try again")
    return BusError(what, code=code, where=where)


async def call(bus: Bus, verb: str, arguments: object = None, timeout: float = 5.0) -> dict[str, Any]:
    """`$JS.API.<verb>` with JSON arguments; tried again until `timeout` while JetStream is starting.

    Raises NotFoundError, ConflictError, UnreachableError, TimedOutError, or BusError with JetStream's own code.
    """
    body = msgspec.json.encode(arguments) if arguments is not None else b""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        try:
            reply = await bus.request(f"$JS.API.{verb}", body, timeout=max(deadline - loop.time(), 0.05))
            answer: dict[str, Any] = msgspec.json.decode(reply.body)
            if "error" in answer:
                raise refusal(answer["error"], verb)
        except UnreachableError:
            if loop.time() + 0.1 >= deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            return answer
