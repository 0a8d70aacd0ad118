"""What a plugin is, and the registry of those installed (entry points of the group `arint.plugins`).

A plugin is described by one light object; what is heavy (a client library, a driver) it imports when first used.
Built-in plugins are registered exactly as a third party's are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, BinaryIO, Literal, Protocol

import msgspec

from arint.answers import Answer, Request
from arint.message import Message


class Accepted(msgspec.Struct, frozen=True):
    """The answer to an accepted message: its id, and whether it had been accepted before (an idempotency key)."""

    message_id: str
    repeated: bool = False


class FullError(Exception):
    """The flow's stream is full, or the bus is away: nothing was stored. `retry_after` is in seconds."""

    def __init__(self, what: str, retry_after: float = 5.0) -> None:
        super().__init__(what)
        self.retry_after = retry_after


class KeyReusedError(Exception):
    """The same idempotency key came with another body."""


class ChannelBinding(msgspec.Struct, frozen=True):
    """A channel as its source meets it: `spec` is the plugin's own channel struct, variables already resolved.

    `payload` and `result` are JSON Schemas of what its target takes and returns, as far as they are known.
    `connections` are the specs, by name, of the connections that it is said to take `from`. A channel that publishes
    a connection's `queries` is asked for its `operations`, and for nothing else.
    """

    name: str
    spec: Any
    target: str
    delivery: str = "guaranteed"
    description: str = ""
    payload: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    connections: Mapping[str, Any] = {}
    operations: tuple[Operation, ...] = ()


class OperationParameter(msgspec.Struct, frozen=True):
    """A parameter in the path or the query, by its JSON Schema."""

    name: str
    schema: dict[str, Any]
    is_required: bool = True


class Operation(msgspec.Struct, frozen=True):
    """One of several things that a channel is asked: `path` is added to the channel's own.

    `roles`: a caller needs one of them, if there are any.
    """

    name: str
    method: str
    path: str = ""
    description: str = ""
    parameters: tuple[OperationParameter, ...] = ()
    payload: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    roles: tuple[str, ...] = ()


class Mark(msgspec.Struct, frozen=True):
    """How far a source has come with a channel. `value` is None where nothing was kept yet."""

    value: bytes | None = None
    sequence: int = 0


class Intake(Protocol):
    """What a source hands messages to. Returning means: the broker has the message on disk."""

    async def accept(self, channel: str, body: bytes | AsyncIterator[bytes], *, content_type: str,
                     headers: Mapping[str, str], idempotency_key: str = "", caller: str = "",
                     correlation_id: str = "", traceparent: str = "", message_id: str = "",
                     variables: Mapping[str, Any] | None = None) -> Accepted:
        """Store one message. Raises FullError or KeyReusedError; then nothing was stored.

        A body that may be large is given part by part, as it arrives: it is stored as it comes, and never held whole.
        What the iterator raises passes through, and nothing was stored.

        A source that can tell what it takes (a file, a row) gives a `message_id` derived from that
        (`arint.message.derived_id`): taking it again after a crash then stores nothing a second time.
        """
        ...

    async def ask(self, channel: str, request: Request, body: bytes | AsyncIterator[bytes], *, timeout: float,
                  content_type: str, headers: Mapping[str, str], caller: str = "", correlation_id: str = "",
                  traceparent: str = "") -> Answer:
        """The outcome, for a channel of immediate delivery, within `timeout` seconds. Cancelling it cancels the work.

        Raises whatever went wrong; `arint.statuses` says what it means. A message's id stands in the `message_id` of
        the answer, and of the error.
        """
        ...

    async def wants_stream(self, channel: str, timeout: float) -> bool:
        """Does the one who would answer take bodies as streams? Else `ask` is given them whole."""
        ...

    async def is_known(self, message_id: str) -> bool:
        """Was this message accepted before, though its flow's stream may have let go of it since?

        A source asks before `accept` where it may be taking something again, such as after a crash.
        """
        ...

    async def mark(self, channel: str) -> Mark:
        """How far the channel's source has come."""
        ...

    async def set_mark(self, channel: str, value: bytes, before: Mark) -> Mark:
        """Keep how far it has come; `before` is the mark that this one follows. Raises ConflictError or FullError."""
        ...

    async def status(self, message_id: str) -> dict[str, Any] | None:
        """Where a message stands: {"id", "state": "accepted|processing|done|dead", "stage", "attempts"}, or None."""
        ...

    def secret(self, name: str) -> bytes:
        """The value of a secret of this instance. Raises NotFoundError."""
        ...


class Source(Protocol):
    """Carries messages in. One instance a process serves all channels of its plugin.

    It may have `trouble`, text that says why it does not do its work, and `circuits`, connections that are away with
    since when: both are shown with its instance.
    """

    async def start(self, intake: Intake, *, host: str, port: int) -> None:
        """Open what is needed; listeners bind `host:port`."""
        ...

    async def update(self, channels: Sequence[ChannelBinding]) -> None:
        """Serve these channels from now on, and no others; requests under way end undisturbed."""
        ...

    async def stop(self, grace: float) -> None:
        """Take nothing new; finish what has begun, at most `grace` seconds."""
        ...


class Delivery(msgspec.Struct, frozen=True):
    """What a sink is given: the message, its parsed body (`value`), the step's options, and the idempotency key.

    The key is the same for every attempt of this stage of this message: a sink passes it on or stores it.
    """

    message: Message
    value: Any
    options: Any
    idempotency_key: str
    timeout: float = 30.0


class Sink(Protocol):
    """Delivers messages to one external system, one instance a connection and process."""

    async def send(self, delivery: Delivery) -> bytes | None:
        """Deliver; return the system's answer, or None where it has none.

        Raises SystemUnavailableError (the system is away), RejectedError (it will never take this message), or any
        other error (an attempt is used).
        """
        ...

    async def probe(self) -> None:
        """Is the system back? Returns, or raises SystemUnavailableError."""
        ...

    async def close(self) -> None:
        """Let go of everything held."""
        ...


class SinkContext(msgspec.Struct, frozen=True):
    """What a sink is opened with: the connection's name, its spec (variables resolved), secrets, the data folder."""

    name: str
    spec: Any
    secrets: Mapping[str, bytes]
    data: str


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A request to a channel, but for its body. `masked` are the headers that hold secrets, as they may be printed."""

    method: str
    url: str
    headers: dict[str, str]
    masked: dict[str, str] = {}


class Api(Protocol):
    """What a channel publishes of a connection; a callable without arguments makes one. Pure."""

    def operations(self, queries: Mapping[str, Any]) -> tuple[Operation, ...]:
        """What callers may ask for, of entries of the transport's type `queries`."""
        ...

    def step(self, queries: Mapping[str, Any], connection: str) -> Any:
        """The effect step that answers; the operation stands in `vars.request`. It runs in a runner."""
        ...


class Guide(Protocol):
    """What a transport tells of its channels: to those who write a caller, and to `arintctl channel`."""

    def openapi(self, channels: Sequence[ChannelBinding], *, server: str, version: str) -> dict[str, Any]:
        """An OpenAPI 3.1 document of these channels. `server` is the address that their paths begin from."""
        ...

    def sample(self, channel: ChannelBinding, *, server: str, method: str = "", query: str = "",
               parameters: dict[str, str] | None = None, secret: Callable[[str], bytes]) -> Sample:
        """An HTTP request as a caller would make it; `secret` gives the value of a secret. Raises UsageError."""
        ...


class Transport(msgspec.Struct, frozen=True):
    """One transport key of `Channel` and `Connection`, such as `http` or `sql`.

    `channel`, `connection` and `options` are msgspec Structs (forbid_unknown_fields): the channel's spec, the
    connection's spec, and the further keys of a `send` step. `source` and `sink` are "module:attribute", imported
    when first used: a class without arguments, and a callable of a SinkContext. `mode` says where the source runs: a
    listener on every node, at the node's port; or what polls, as one instance in the whole cluster.

    A connection's transport may publish parts of it through channels: `queries` is the type of one entry of a channel's
    `queries`, and `api` a "module:attribute" of an `Api`.
    """

    name: str
    channel: type[msgspec.Struct] | None = None
    connection: type[msgspec.Struct] | None = None
    options: type[msgspec.Struct] | None = None
    source: str = ""
    sink: str = ""
    guide: str = ""
    queries: type[msgspec.Struct] | None = None
    api: str = ""
    immediate: bool = False
    mode: Literal["every-node", "singleton"] = "every-node"


class Written(msgspec.Struct, frozen=True):
    """A value as bytes, and their content type."""

    body: bytes
    content_type: str


class Format(Protocol):
    """One form that data comes in, opened with its options. Values are what JSON has."""

    def parse(self, body: bytes, content_type: str = "") -> Any:
        """The value of a whole body. Raises RejectedError, which names the place and no value of the body."""
        ...

    def write(self, value: Any) -> Written:
        """The value in this form. Raises RejectedError for what cannot be written in it."""
        ...

    def records(self, stream: BinaryIO) -> Iterator[Any]:
        """The records of a stream of any size, one by one, in bounded memory. Raises RejectedError as `parse` does."""
        ...


class FormatType(msgspec.Struct, frozen=True):
    """One format by its name in a manifest, such as `csv`.

    `options` is a msgspec Struct (forbid_unknown_fields): what may stand beside the name. `codec` is
    "module:attribute", imported when first used: a callable of the options, which gives a Format. `content_types` are
    those that say a body has this form.
    """

    name: str
    options: type[msgspec.Struct]
    codec: str
    content_types: tuple[str, ...] = ()


class Plugin(msgspec.Struct, frozen=True):
    """What a plugin adds: transports, formats, and step types (classes that satisfy `arint.flows.Step`)."""

    name: str
    summary: str
    transports: tuple[Transport, ...] = ()
    steps: tuple[type[Any], ...] = ()
    formats: tuple[FormatType, ...] = ()


@cache
def installed() -> Mapping[str, Plugin]:
    """Every installed plugin, by the name of its entry point."""
    from importlib.metadata import entry_points  # 2 MiB, which an agent without channels does not need

    return {point.name: point.load() for point in sorted(entry_points(group="arint.plugins"), key=lambda p: p.name)}


@cache
def transports() -> Mapping[str, Transport]:
    """Every transport, by its key in a manifest."""
    return {transport.name: transport for plugin in installed().values() for transport in plugin.transports}


@cache
def formats() -> Mapping[str, FormatType]:
    """Every format, by its name in a manifest; see `arint.formats`."""
    return {kind.name: kind for plugin in installed().values() for kind in plugin.formats}


@cache
def step_types() -> Mapping[str, type[Any]]:
    """Every step type, by its key in a flow."""
    return {step.key: step for plugin in installed().values() for step in plugin.steps}


async def take_room(size: int) -> None:
    """For a sink whose system gives a large answer (over `arint.message.LARGEST_INLINE`), before it is read.

    Waits until this process has room for so many bytes beside the answers that it holds already. Ask once.
    """
    from arint.room import current

    stay = current.get(None)
    if stay is not None:
        await stay.for_answer(size)


def load(reference: str) -> Any:
    """The object that "module:attribute" names."""
    from importlib import import_module

    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)
