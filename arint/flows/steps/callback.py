"""`callback`: tell the caller, at an address that the message itself names."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from arint.errors import RejectedError
from arint.flows.addresses import Pattern, parse_url
from arint.flows.expressions import Template, expression
from arint.flows.state import State
from arint.flows.step import EffectStep, Mistakes, StepError
from arint.resources.kinds import Duration
from arint.resources.quantities import seconds


class CallbackSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`url`: CEL that gives the address; header values are texts with CEL in double braces.

    `allow`: patterns, such as `https://*.partner.example/hooks/*`: then no other address is called. Without it every
    address may be named but those of this machine itself, link-local ones, and metadata services.
    """

    url: str
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    headers: dict[str, str] = {}
    timeout: Duration = "10s"
    allow: list[str] = []


class Callback(EffectStep):
    """`callback: {url: "headers['reply-to']"}`: the body goes there."""

    key: ClassVar[str] = "callback"
    Spec: ClassVar[Any] = CallbackSpec

    def __init__(self, spec: CallbackSpec) -> None:
        self._method = spec.method
        self._timeout = seconds(spec.timeout)
        found = Mistakes()
        with found.at("url"):
            self._url = expression(spec.url)
        self._allowed: list[Pattern] = []
        for index, text in enumerate(spec.allow):
            with found.at("allow", index):
                self._allowed.append(_pattern(text))
        self._headers: dict[str, Template] = {}
        for name, text in spec.headers.items():
            with found.at("headers", name):
                self._headers[name] = Template(text)
        found.refuse()

    async def perform(self, state: State, idempotency_key: str) -> None:
        """Raises RejectedError where the message names no address, or one that is not allowed."""
        url = self._url.evaluate(state)
        parts = parse_url(url) if isinstance(url, str) else None
        if parts is None:
            raise RejectedError(f"`{self._url.source}` is no http:// or https:// address")
        if self._allowed and not any(pattern.fits(parts) for pattern in self._allowed):
            raise RejectedError(f"callbacks to {parts.scheme}://{parts.netloc} are not allowed", where="callback",
                                remedy="add it to the step's allow, if it is right")
        message = state.message()
        headers = {"Content-Type": message.content_type,
                   **{name: text.fill(state) for name, text in self._headers.items()}}
        if message.correlation_id:
            headers.setdefault("X-Correlation-Id", message.correlation_id)
        if message.traceparent:
            headers.setdefault("traceparent", message.traceparent)
        await state.effects.callback(url, self._method, headers, message.body, idempotency_key, self._timeout,
                                     bool(self._allowed) or self._url.is_constant)


def _pattern(text: str) -> Pattern:
    try:
        return Pattern.parse(text)
    except ValueError as error:
        suggestion = "variables are not replaced in flows" if "${" in text else str(error)
        raise StepError(f'"{text}" allows nothing', suggestion=suggestion) from None
