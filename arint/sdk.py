"""What a service is made with: `@service`, its `Context`, and the `Handler` that gives it messages."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar, overload

import msgspec

from arint.answers import STATUS, Request, request_of
from arint.calls.streams import begun, gather, once
from arint.errors import ArintError, MessageError, NotFoundError, NotValidError, RejectedError
from arint.flows.state import Output, Reply
from arint.message import Message
from arint.signatures import annotation_of, decoder_for, is_stream, parameters_of, result_type_of

T = TypeVar("T")
AnyCallable = TypeVar("AnyCallable", bound=Callable[..., Any])
Requester = Callable[[str, Message, float], Awaitable[Message]]
"""Asks another service: name, message, timeout in seconds."""

JSON = "application/json"
LARGEST_GATHERED = 64 * 2**20
"""Octets of a body that a service makes as a stream, where it is needed in one piece."""
_logger = logging.getLogger("arint.service")
_encode = msgspec.json.Encoder().encode


def service(function: AnyCallable) -> AnyCallable:
    """Mark a callable as a service.

    Its parameters, each of them optional: the payload (decoded to its annotation: a msgspec Struct, a dataclass,
    dict, list, str, bytes, Message; `AsyncIterator[bytes]` for the body as a stream; without one, the JSON value), and
    one annotated `Context` or named `ctx`.
    What it returns becomes the body: None leaves it as it is, bytes are taken as they are, a Message is taken whole,
    an async iterator of bytes (or the service as an async generator) is a body made in parts, anything else is
    written as JSON. Raises NotValidError if its signature does not fit.
    """
    Handler(function)
    return function


class Context:
    """What a service is given besides the payload. Made by the runtime, or by `arint.testing`.

    `stage` is the idempotency key of this stage of this message: of it the ids of what is sent are derived, so that
    a repetition stores nothing twice. `message` is what came in; `config` what the Service resource says; `deadline`
    the time (seconds since the epoch) at which this attempt is given up; `log` a logger that knows the message.
    """

    def __init__(self, message: Message, *, service: str = "", stage: str = "", config: Mapping[str, Any] | None = None,
                 secrets: Mapping[str, bytes] | None = None, deadline: float = 0.0,
                 log: logging.Logger | logging.LoggerAdapter[logging.Logger] | None = None,
                 request: Requester | None = None, clock: Callable[[], float] = time.time) -> None:
        self.message = message
        self.service = service
        self.stage = stage or service
        self.config: Mapping[str, Any] = config or {}
        self.deadline = deadline
        self._secrets = secrets or {}
        self._log = log
        self._request = request
        self._clock = clock
        self._outputs: list[Output] = []
        self._children = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._answer: dict[str, Any] = {}
        self._begun = False

    @property
    def request(self) -> Request:
        """Method, path parameters and query parameters of the HTTP request that the message came with."""
        return request_of(self.message)

    def answer(self, *, status: int = 0, content_type: str = "", headers: Mapping[str, str] | None = None) -> None:
        """Say what goes with the result: the status of an immediate answer, its content type, further headers.

        Where nobody waits for an answer, the headers stay with the message.
        """
        if status and not 200 <= status <= 599:
            raise NotValidError(f"{status} is no status of an answer", remedy="200 to 599")
        set_ = {name.lower(): value for name, value in (headers or {}).items()}
        if status:
            set_[STATUS] = str(status)
        if set_:
            self._answer["headers"] = {**self._answer.get("headers", {}), **set_}
        if content_type:
            self._answer["content_type"] = content_type

    def answered(self, message: Message) -> Message:
        """The result, with what `answer` said. Called by the runtime."""
        if not self._answer:
            return message
        headers = {**message.headers, **self._answer.get("headers", {})}
        return msgspec.structs.replace(message, headers=headers,
                                       content_type=self._answer.get("content_type", message.content_type))

    @property
    def log(self) -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
        """The logger of this message."""
        if self._log is None:
            self._log = logging.LoggerAdapter(_logger, {"message_id": self.message.id, "service": self.service})
        return self._log

    @property
    def now(self) -> float:
        """The time in seconds since the epoch; in a test that has a clock, that clock's."""
        return self._clock()

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; infinite where there is none."""
        return self.deadline - self._clock() if self.deadline else float("inf")

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What `send` and `publish` have gathered."""
        return tuple(self._outputs)

    def secret(self, name: str) -> str:
        """The value of a secret that the Service resource lists. Raises NotFoundError."""
        return self.secret_bytes(name).decode()

    def secret_bytes(self, name: str) -> bytes:
        """As `secret`, for a value that is no text."""
        found = self._secrets.get(name)
        if found is None:
            raise NotFoundError(f"this service has no secret {name}", remedy=f"add it: secrets: [{name}]")
        return found

    def send(self, target: str, payload: Any = None, *, headers: Mapping[str, str] | None = None,
             **options: Any) -> str:
        """Send a message to `flow/NAME`, `service/NAME` or `connection/NAME`; returns its id.

        It is stored together with this service's result, so only if the service succeeds, and once. Without a
        payload the body that came in is sent. `options` are what a `send` step may say besides `to`, such as
        `statement="insert into …"` for an SQL connection.
        """
        kind, _, name = target.partition("/")
        if kind not in ("flow", "service", "connection") or not name:
            raise RejectedError(f'"{target}" cannot be sent to',
                                remedy="flow/NAME, service/NAME, connection/NAME; for a topic: publish")
        if options and kind != "connection":
            raise RejectedError(f"only a connection takes {', '.join(options)}", where=target)
        return self._gather(name if kind == "flow" else f"{kind}={name}", "start", payload, headers, options)

    def publish(self, topic: str, payload: Any = None, *, headers: Mapping[str, str] | None = None) -> str:
        """Publish a message to a topic; as `send`, with this service's result. Returns its id."""
        return self._gather(f"topic={topic.removeprefix('topic/')}", "", payload, headers)

    @overload
    async def call(self, service: str, payload: Any = None, *, timeout: float = 0.0) -> Message: ...
    @overload
    async def call(self, service: str, payload: Any = None, *, result: type[T], timeout: float = 0.0) -> T: ...
    async def call(self, service: str, payload: Any = None, *, result: Any = Message, timeout: float = 0.0) -> Any:
        """Ask another service and wait for its answer, decoded to `result`. Nothing is stored.

        `timeout` in seconds, by default (0) what is left of this attempt. Raises what the service raised.
        """
        if self._request is None:
            raise NotFoundError("no other service can be called from here", where=f"service/{service}")
        name = service.removeprefix("service/")
        message = self._child(f"call={name}", payload, None)
        left = self.remaining
        answer = await self._request(name, message, min(timeout or left, left) if left != float("inf") else timeout)
        return decoder_for(result)(answer)

    def call_and_wait(self, service: str, payload: Any = None, *, result: Any = Message, timeout: float = 0.0) -> Any:
        """As `call`, for services that are no coroutines."""
        if self._loop is None:
            raise MessageError("call_and_wait is for services without async", remedy="await ctx.call(…)")
        call = self.call(service, payload, result=result, timeout=timeout)
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def seal(self) -> None:
        """The answer has begun: what goes with it is settled. Called by the runtime."""
        self._begun = True

    def _gather(self, flow: str, stage: str, payload: Any, headers: Mapping[str, str] | None,
                options: dict[str, Any] | None = None) -> str:
        if self._begun:
            raise MessageError("the answer has begun: nothing more can go with it", remedy="send before the first part")
        message = self._child(flow, payload, headers, options)
        self._outputs.append(Output(flow, stage, message))
        return message.id

    def _child(self, to: str, payload: Any, headers: Mapping[str, str] | None,
               options: dict[str, Any] | None = None) -> Message:
        """A message of its own. To a connection its options go along as its variables, which nothing else reads."""
        known = with_result(self.message, payload)
        self._children += 1
        lower = {name.lower(): value for name, value in (headers or {}).items()}
        return known.derive(f"{self.stage}>{to}", self._children, attempt=1, failure=None, variables=options or {},
                            headers={**known.headers, **lower})


class Handler:
    """A user's callable, ready to be given messages. Raises NotValidError if it cannot be called that way.

    `payload_type` is the annotation of its payload, Any where there is none.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        if inspect.isclass(function):
            function = typing.cast(Callable[..., Any], function())
        self._function = function
        payload, self._context_name = parameters_of(function, Context)
        self._payload_name = payload.name if payload is not None else ""
        self.payload_type = annotation_of(function, payload) if payload is not None else Any
        self.takes_stream = is_stream(self.payload_type)
        self._decode = None if payload is None or self.takes_stream else decoder_for(self.payload_type)
        self._positional = payload is not None and payload.kind is payload.POSITIONAL_ONLY
        called = getattr(function, "__call__", None)  # noqa: B004 - the method itself is wanted, not whether it is there
        self.is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
        self._makes_stream = inspect.isasyncgenfunction(function) or inspect.isasyncgenfunction(called)

    async def handle(self, message: Message, context: Context, executor: Executor | None = None, *,
                     body: AsyncIterator[bytes] | None = None, streaming: bool = False) -> Reply:
        """Call it; a callable without async in a thread of `executor`.

        `body` is the message's body where it comes as a stream. What the callable makes as a stream stays one if
        `streaming`; it is gathered otherwise. Raises RejectedError if the body is not what is annotated, else what the
        callable raises.
        """
        positional, named = self._arguments(message, context, body)
        if self._makes_stream:
            result: Any = self._function(*positional, **named)
        elif self.is_async:
            try:
                result = await self._function(*positional, **named)
            except SystemExit as error:
                raise _left(error) from None
        else:
            context._loop = asyncio.get_running_loop()
            call = partial(_in_thread, self._function, positional, named)
            result = await context._loop.run_in_executor(executor, call)
            if inspect.isawaitable(result):
                result = await result
        if hasattr(result, "__anext__"):
            return await _in_parts(message, result, context, streaming=streaming)
        return Reply(context.answered(with_result(message, result)), context.outputs, None, result is not None)

    @property
    def result_type(self) -> Any:
        """The annotation of what it returns; Any where there is none, or one that is not known."""
        return result_type_of(self._function)

    def _arguments(self, message: Message, context: Context,
                   body: AsyncIterator[bytes] | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        named: dict[str, Any] = {}
        positional: tuple[Any, ...] = ()
        if self._payload_name:
            payload = self._decode(message) if self._decode is not None else body or once(message.body)
            if self._positional:
                positional = (payload,)
            else:
                named[self._payload_name] = payload
        if self._context_name:
            named[self._context_name] = context
        return positional, named


def with_result(message: Message, result: Any) -> Message:
    """The message as it goes on after a service returned `result`."""
    if result is None:
        return message
    if isinstance(result, Message):
        return msgspec.structs.replace(result, id=message.id, root=message.root, run=message.run, cause=message.cause,
                                       created=message.created, channel=message.channel, caller=message.caller,
                                       change_set=message.change_set, attempt=message.attempt)
    if isinstance(result, bytes | bytearray | memoryview):
        return msgspec.structs.replace(message, body=result if isinstance(result, bytes) else bytes(result))
    try:
        return msgspec.structs.replace(message, body=_encode(result), content_type=JSON)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise MessageError(f"the result cannot be written as JSON: {error}",
                           remedy="return plain data, a Struct, a dataclass, bytes or a Message") from None


async def _in_parts(message: Message, stream: AsyncIterator[bytes], context: Context, *, streaming: bool) -> Reply:
    """What is made in parts: as it is, once its first part is there; or in one piece."""
    if streaming:
        stream = await begun(stream)
        context.seal()
        return Reply(context.answered(message), context.outputs, stream)
    body = await gather(stream, LARGEST_GATHERED, _too_large)
    return Reply(context.answered(msgspec.structs.replace(message, body=body)), context.outputs)


def _too_large() -> MessageError:
    return MessageError(f"the result has more than {LARGEST_GATHERED} bytes")


def _in_thread(function: Callable[..., Any], positional: tuple[Any, ...], named: dict[str, Any]) -> Any:
    try:
        return function(*positional, **named)
    except SystemExit as error:
        raise _left(error) from None
    except StopIteration as error:
        raise MessageError(f"the service raised StopIteration: {error}") from error


def _left(error: SystemExit) -> ArintError:
    return MessageError(f"the service called sys.exit({error.code!r})", remedy="raise an error instead")
