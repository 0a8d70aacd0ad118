"""What came of a service or a flow in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from arint.flows.json_text import parse_json
from arint.flows.run import Output
from arint.flows.state import Level
from arint.message import Failure, Message


class Sent(msgspec.Struct, frozen=True):
    """Something that left: to `connection/NAME`, `flow/NAME`, `service/NAME`, `topic/NAME`, or a callback's address."""

    target: str
    message: Message
    options: Mapping[str, Any] = {}
    headers: Mapping[str, str] = {}
    idempotency_key: str = ""

    @property
    def value(self) -> Any:
        """The body as JSON."""
        return parse_json(self.message.body)


class ServiceResult(msgspec.Struct, frozen=True):
    """What a service returned, and what it sent besides."""

    message: Message
    sent: tuple[Sent, ...] = ()

    @property
    def value(self) -> Any:
        """The body as JSON."""
        return parse_json(self.message.body)


class StepRecord(msgspec.Struct, frozen=True):
    """The message as one step left it."""

    path: str
    key: str
    name: str
    stage: str
    message: Message


class Wait(msgspec.Struct, frozen=True):
    """How long, at the most, a stage would have waited before it was tried again, in seconds."""

    stage: str
    seconds: float


class FlowRun(msgspec.Struct):
    """What became of a message. `failure` is set if it would be a dead letter; it failed in the stage `failed_in`.

    Where a step makes several messages of one, `ended` has all that came to the end of the flow, `message` is the
    last of them; `dead` has those that would be dead letters, `failure` is the first one's; `filtered` counts those
    that a `filter` took out. `entered` has each stage with the message it began with; `waits` what was waited for, if
    the test has a clock.
    """

    message: Message
    steps: list[StepRecord] = []
    sent: list[Sent] = []
    logs: list[tuple[Level, str]] = []
    failure: Failure | None = None
    failed_in: str = ""
    error: Exception | None = None
    ended: list[Message] = []
    dead: list[Message] = []
    filtered: int = 0
    delays: list[float] = []
    """Seconds that each `delay` would have taken."""
    entered: list[tuple[str, Message]] = []
    waits: list[Wait] = []

    @property
    def values(self) -> list[Any]:
        """The bodies of all that came to the end, as JSON."""
        return [parse_json(message.body) for message in self.ended]

    @property
    def value(self) -> Any:
        """The last body as JSON."""
        return parse_json(self.message.body)

    def sent_to(self, target: str) -> list[Sent]:
        """What left to this target; callbacks have their address as target."""
        return [sent for sent in self.sent if sent.target == target]


def sent_of(output: Output) -> Sent:
    """What a stage stored, as something that was sent."""
    kind, _, name = output.flow.partition("=")
    options = output.message.variables if kind == "connection" else {}
    return Sent(f"{kind}/{name}" if name else f"flow/{output.flow}", output.message, options)
