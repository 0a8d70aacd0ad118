"""A message while a stage works on it: parsed once, written once; and what a stage gives and asks of the world."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Literal, Protocol

import msgspec

from arint.errors import BodyAwayError
from arint.flows.json_text import parse_json, write_json
from arint.message import Failure, Message, is_away, size_of

Outcome = Literal["done", "filtered"]
Level = Literal["debug", "info", "warning", "error"]

_NOT_PARSED: Any = object()


class Output(msgspec.Struct, frozen=True):
    """A message to store: the input of `stage` of `flow`. A topic's message has the flow `topic=NAME` and no stage."""

    flow: str
    stage: str
    message: Message

    @property
    def label(self) -> str:
        """Where it goes, as the action log says it: `orders/3-call-price`, `topic/prices`."""
        if self.flow.startswith("topic="):
            return self.flow.replace("=", "/", 1)
        return f"{self.flow}/{self.stage}"


class Fork(msgspec.Struct, frozen=True):
    """What an effect gives instead of going on: `count` inputs of other stages, made one by one as they are stored."""

    count: int
    outputs: Iterable[Output]


class Reply(msgspec.Struct, frozen=True):
    """What a service gave back: the message as it goes on, and what is stored together with it (`ctx.send`).

    `stream`: the body in parts, in place of the message's. `returned` is off where the service returned nothing.
    """

    message: Message
    outputs: tuple[Output, ...] = ()
    stream: AsyncIterator[bytes] | None = None
    returned: bool = True


class Effects(Protocol):
    """What a flow asks of the world outside. A `timeout` of 0 means: as the target itself says."""

    async def call(self, service: str, message: Message, idempotency_key: str, timeout: float) -> Reply:
        """Let the service process the message. The key is the `stage` of its `arint.sdk.Context`."""
        ...

    async def send(self, target: str, message: Message, options: Mapping[str, Any], idempotency_key: str,
                   timeout: float) -> bytes | None:
        """Deliver to `connection/NAME`. `options` are the further keys of the step, as written."""
        ...

    async def callback(self, url: str, method: str, headers: Mapping[str, str], body: bytes, idempotency_key: str,
                       timeout: float, trusted: bool) -> None:
        """Tell the caller. The content type stands in `headers`. `trusted`: the flow itself allows the address."""
        ...

    def log(self, level: Level, text: str, message: Message) -> None:
        """Write a line to the log."""
        ...


Trace = Callable[[str, str, str, "State"], None]
"""Told after each step: its path, its key, the name its writer gave it, the state."""


class State:
    """What steps read and change. `outputs` are stored when the stage has ended well, and only then.

    `fork` is set by an effect after which the stage does not go on by itself. `outcome` is how the stage is recorded.
    """

    __slots__ = ("_body", "_changed", "_message", "_seen", "content_type", "effects", "failure", "flow", "fork",
                 "headers", "outcome", "outputs", "stage", "trace", "variables")

    def __init__(self, message: Message, flow: str, stage: str, effects: Effects, trace: Trace | None = None) -> None:
        self.flow = flow
        self.stage = stage
        self.effects = effects
        self.trace = trace
        self.outputs: list[Output] = []
        self.fork: Fork | None = None
        self.outcome: Outcome = "done"
        self.replace(message)

    def replace(self, message: Message) -> None:
        """Go on with this message."""
        self._message = message
        self._body: Any = _NOT_PARSED
        self._changed = False
        self._seen: dict[str, Any] | None = None
        self.headers: Mapping[str, str] = message.headers
        self.variables: Mapping[str, Any] = message.variables
        self.content_type = message.content_type
        self.failure = message.failure

    @property
    def body(self) -> Any:
        """The body as JSON, parsed when first asked for. Do not change it in place: assign a new one.

        Raises RejectedError for what is no JSON: empty, not UTF-8, malformed, nested too deep.
        """
        if self._body is _NOT_PARSED:
            if is_away(self._message.body):
                raise BodyAwayError("the large body is not fetched", where=self.stage)
            self._body = parse_json(self._message.body)
        return self._body

    @body.setter
    def body(self, value: Any) -> None:
        self._body = value
        self._changed = True
        self.content_type = "application/json"

    @property
    def seen(self) -> dict[str, Any]:
        """The name `message` in expressions."""
        if self._seen is None:
            known = self._message
            self._seen = {"id": known.id, "root": known.root, "correlation_id": known.correlation_id,
                          "cause": known.cause, "channel": known.channel, "caller": known.caller,
                          "attempt": known.attempt, "run": known.run, "created": known.created,
                          "content_type": known.content_type, "traceparent": known.traceparent,
                          "size": size_of(known.body), "flow": self.flow}
        return self._seen

    @property
    def error(self) -> dict[str, str] | None:
        """The name `error` in expressions: what led to the `catch`."""
        failure = self.failure
        return None if failure is None else {"kind": failure.kind, "message": failure.message, "stage": failure.where}

    def message(self) -> Message:
        """The message as it is now; the body is written anew only if a step changed it."""
        if self._changed:
            self._message = msgspec.structs.replace(self._message, body=write_json(self._body))
            self._changed = False
            self._seen = None
        known = self._message
        if (known.headers is not self.headers or known.variables is not self.variables
                or known.failure is not self.failure or known.content_type is not self.content_type):
            self._message = msgspec.structs.replace(known, headers=self.headers, variables=self.variables,
                                                    failure=self.failure, content_type=self.content_type)
        return self._message

    def failed(self, failure: Failure) -> None:
        """Go on in a `catch`."""
        self.failure = failure
