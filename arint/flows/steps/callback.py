"""`callback`: tell the caller, at an address that the message itself names."""

from __future__ import annotations

from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec

from arint.errors import RejectedError
from arint.flows.expressions import Template, expression
from arint.flows.state import State
from arint.flows.step import EffectStep, Mistakes
from arint.resources.kinds import Duration
from arint.resources.quantities import seconds


class CallbackSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`url`: CEL that gives the address; header values are texts with CEL in double braces."""

    url: str
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    headers: dict[str, str] = {}
    timeout: Duration = "10s"


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
        self._headers: dict[str, Template] = {}
        for name, text in spec.headers.items():
            with found.at("headers", name):
                self._headers[name] = Template(text)
        found.refuse()

    async def perform(self, state: State, idempotency_key: str) -> None:
        """Raises RejectedError where the message names no address."""
        url = self._url.evaluate(state)
        if not isinstance(url, str) or not _is_http(url):
            raise RejectedError(f"`{self._url.source}` is no http:// or https:// address")
        message = state.message()
        headers = {"Content-Type": message.content_type,
                   **{name: text.fill(state) for name, text in self._headers.items()}}
        if message.correlation_id:
            headers.setdefault("X-Correlation-Id", message.correlation_id)
        if message.traceparent:
            headers.setdefault("traceparent", message.traceparent)
        await state.effects.callback(url, self._method, headers, message.body, idempotency_key, self._timeout)


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
