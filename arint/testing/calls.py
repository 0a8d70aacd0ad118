"""An immediate call in memory: what its caller would be answered, whatever becomes of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import msgspec

from arint.answers import VARIABLE, answer_of
from arint.calls.streams import gather
from arint.errors import MessageError
from arint.flows.json_text import parse_json
from arint.flows.state import Reply
from arint.message import Message
from arint.sdk import LARGEST_GATHERED, Context, Handler
from arint.statuses import status_of
from arint.testing.fakes import Fake, Fakes
from arint.testing.flows import FlowTest, message_of, waited
from arint.testing.results import Sent, sent_of


class Asked(msgspec.Struct, frozen=True):
    """What the caller is answered. `error` is what was raised, of which the caller is told the status and `detail`.

    `parts` has the body as it was made, piece by piece, where it was made so.
    """

    status: int
    body: bytes = b""
    content_type: str = ""
    headers: Mapping[str, str] = {}
    parts: tuple[bytes, ...] = ()
    sent: tuple[Sent, ...] = ()
    detail: str = ""
    error: BaseException | None = None

    @property
    def value(self) -> Any:
        """The body as JSON."""
        return parse_json(self.body)


def ask(target: Callable[..., Any] | FlowTest, payload: Any = b"", *, method: str = "POST",
        path: Mapping[str, str] | None = None, query: Mapping[str, str | list[str]] | None = None,
        parts: Iterable[bytes] | None = None, timeout: float = 15.0, config: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str | bytes] | None = None, services: Mapping[str, Fake] | None = None,
        **known: Any) -> Asked:
    """Ask a service, or a flow (a FlowTest), as the caller of an immediate channel does; nothing is raised.

    `path` and `query` are the parameters; `parts` is a body that comes in pieces. The further arguments are those of
    `run_service`, for a service.
    """
    request = {"method": method, "path": dict(path or {}), "query": dict(query or {})}
    message = message_of(b"" if parts is not None else payload, **{**known, "variables": {VARIABLE: request}})
    if isinstance(target, FlowTest):
        return _asked_flow(target, message)
    encoded = {key: value.encode() if isinstance(value, str) else value for key, value in (secrets or {}).items()}
    name = getattr(target, "__name__", "service")
    context = Context(message, service=name, config=config, secrets=encoded, deadline=time.time() + timeout,
                      request=Fakes(services or {}).request)
    return waited(_asked(Handler(target), message, context, None if parts is None else _each(parts)))


async def _asked(handler: Handler, message: Message, context: Context, body: AsyncIterator[bytes] | None) -> Asked:
    made: list[bytes] = []
    try:
        if body is not None and not handler.takes_stream:
            message.body = await gather(body, LARGEST_GATHERED, _too_large)
        reply = await handler.handle(message, context, body=body, streaming=True)
        if reply.stream is not None:
            made = [part async for part in reply.stream]
    except Exception as error:  # whatever the service raises, its caller is told in a status
        return _failed(error)
    return _answered(message, reply, tuple(made), tuple(map(sent_of, reply.outputs)))


def _asked_flow(test: FlowTest, message: Message) -> Asked:
    before, test.once = test.once, True
    try:
        run = test.run(message)
    finally:
        test.once = before
    if run.failure is not None:
        return _failed(run.error or MessageError(run.failure.message))
    return _answered(message, Reply(run.message, returned=not run.filtered), (), tuple(run.sent))


def _answered(message: Message, reply: Reply, made: tuple[bytes, ...], sent: tuple[Sent, ...]) -> Asked:
    told = answer_of(message, reply.message, returned=reply.returned, stream=reply.stream)
    return Asked(told.status, b"".join(made) if made else told.body, told.content_type, told.headers, made, sent)


def _failed(error: BaseException) -> Asked:
    status = status_of(error)
    return Asked(int(status.code), detail=status.detail, error=error)


async def _each(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def _too_large() -> MessageError:
    return MessageError(f"the body has more than {LARGEST_GATHERED} bytes")
