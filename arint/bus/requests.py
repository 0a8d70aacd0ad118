"""Request/reply with messages: not stored, with a deadline that travels along, and errors that come back as errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from arint.bus import headers as header_lines
from arint.bus.bodies import Bodies
from arint.bus.connection import Bus, Reply, Request, Subscription
from arint.bus.subjects import target_of
from arint.errors import ArintError
from arint.failures import Told, error_of, tell
from arint.message import ENVELOPE_HEADER, Message, StoredBody, decode_message, encode_envelope, inline

_IDENTITY = "Arint-Id"          # root.id.run.attempt: what a stored message's subject says
_TIMEOUT = "Arint-Timeout"      # in seconds, not a time of day: clocks differ between machines
_FAILURE = "Arint-Failure"

Answerer = Callable[[Message, float], Awaitable[Message]]
"""Given the message and the seconds left for it, returns the answer."""


async def ask(bus: Bus, subject: str, message: Message, timeout: float, bodies: Bodies | None = None) -> Message:
    """Send a request and wait for its answer, at most `timeout` seconds. Large bodies go by way of `bodies`.

    Raises what the answerer raised (as the error of the same title, else MessageError), and what `attempt` raises.
    """
    answer = await attempt(bus, subject, message, timeout, bodies)
    if isinstance(answer, ArintError):
        raise answer
    return answer


async def attempt(bus: Bus, subject: str, message: Message, timeout: float, bodies: Bodies | None = None,
                  ) -> Message | ArintError:
    """As `ask`; what the answerer raised is returned, so that it is told from what became of the request itself.

    Raises TimedOutError, NobodyError where nobody listens, UnreachableError where the connection broke meanwhile.
    """
    if bodies is not None:
        message = await bodies.lend(message, _store_of(subject))
    headers = {**_headers(message), _TIMEOUT: f"{timeout:.3f}"}
    reply = await bus.request(subject, inline(message), timeout, headers)
    failure = header_lines.find(reply.header, _FAILURE.encode())
    if failure is not None:
        return error_of(msgspec.json.decode(failure, type=Told))
    return await _whole(_message(reply), bodies)


async def answer(bus: Bus, subject: str, answerer: Answerer, queue: str = "arint",
                 bodies: Bodies | None = None) -> Subscription:
    """Answer requests until the subscription is closed; work that its caller waits for no more is cancelled."""

    async def on_request(request: Request) -> None:
        stamp = header_lines.find(request.header, _TIMEOUT.encode())
        left = float(stamp) if stamp else 30.0
        try:
            async with asyncio.timeout(left):
                asked = await _whole(_message(Reply(request.subject, request.body, request.header)), bodies)
                result = await answerer(asked, left)
                if bodies is not None:
                    result = await bodies.lend(result, _store_of(subject))
        except Exception as error:  # user code may raise anything; the caller is told
            request.respond(b"", {_FAILURE: msgspec.json.encode(tell(error, subject))})
        else:
            request.respond(inline(result), _headers(result))

    return await bus.subscribe(subject, queue, on_request)


async def _whole(message: Message, bodies: Bodies | None) -> Message:
    """With its body; as bytes of its own, since nothing keeps what was lent for a request."""
    if bodies is None or not isinstance(message.body, StoredBody):
        return message
    return msgspec.structs.replace(message, body=bytes((await bodies.fetch(message)).body))


def _store_of(subject: str) -> str:
    """The flow token under which lent bodies are kept: that of messages sent to the service or flow."""
    return target_of(subject)


def _headers(message: Message) -> dict[str, str | bytes]:
    identity = f"{message.root}.{message.id}.{message.run}.{message.attempt}"
    return {ENVELOPE_HEADER: encode_envelope(message), _IDENTITY: identity}


def _message(reply: Reply) -> Message:
    envelope = header_lines.find(reply.header, ENVELOPE_HEADER.encode()) or b"{}"
    identity = (header_lines.find(reply.header, _IDENTITY.encode()) or b"..0.1").decode()
    root, message_id, run, attempt = identity.split(".")
    message = decode_message(reply.body, envelope, root=root, identity=message_id, run=int(run))
    message.attempt = int(attempt)
    return message
