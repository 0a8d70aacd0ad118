"""Spans around what a worker does with a message. Nothing here waits, whatever becomes of the spans."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from arint.message import Message, size_of
from arint.tracing.context import TraceContext, derived_span, derived_trace, is_chosen, parse
from arint.tracing.span import Span, SpanKind

_MOST_OPEN = 10_000


class Tracer:
    """One a process. `put` takes spans that have ended; `ratio` of the traces that begin here are sampled.

    A span that was begun is known by the `traceparent` that its message has from then on: whatever is derived of the
    message, or sent with it, is a child of that span.
    """

    def __init__(self, put: Callable[[Span], None], *, ratio: float = 1.0,
                 clock: Callable[[], float] = time.time) -> None:
        self._put = put
        self._ratio = ratio
        self._clock = clock
        self._open: dict[str, Span] = {}

    def enter(self, message: Message, verb: str, channel: str, began: float) -> None:
        """A message comes in: as part of its caller's trace, whose decision to sample is honoured, or of a new one."""
        caller = parse(message.traceparent)
        if caller is None:
            trace = derived_trace(message.root)
            caller = TraceContext(trace, "", is_chosen(trace, self._ratio))
            message.traceparent = ""
        if caller.sampled:
            self._begin(message, caller, f"{verb} {channel}", "server", (verb, message.id), began,
                        {"arint.channel": channel, "arint.caller": message.caller})

    def begin(self, message: Message, name: str, kind: SpanKind, *key: object, **attributes: str | int) -> None:
        """Something is done with a message, if it is traced. `key` says what, so that doing it again is the same."""
        context = parse(message.traceparent)
        if context is not None and context.sampled:
            self._begin(message, context, name, kind, key, self._clock(),
                        {f"arint.{word}": value for word, value in attributes.items()})

    def _begin(self, message: Message, parent: TraceContext, name: str, kind: SpanKind, key: tuple[object, ...],
               began: float, attributes: dict[str, str | int]) -> None:
        known: dict[str, str | int] = {"messaging.system": "arint", "messaging.message.id": message.id,
                                       "messaging.message.body.size": size_of(message.body)}
        span = Span(trace=parent.trace, id=derived_span(parent.trace, parent.span, *key), parent=parent.span, name=name,
                    kind=kind, began=int(began * 1e9), attributes={**known, **attributes})
        message.traceparent = TraceContext(parent.trace, span.id, sampled=True).traceparent
        if len(self._open) < _MOST_OPEN:
            self._open[message.traceparent] = span

    def end(self, traceparent: str, *, error: str = "", **attributes: str | int) -> None:
        """What was begun under this traceparent has ended; nothing happens if it is not traced."""
        span = self._open.pop(traceparent, None)
        if span is not None:
            span.ended = max(int(self._clock() * 1e9), span.began)
            span.error = error
            span.attributes |= {f"arint.{word}": value for word, value in attributes.items()}
            self._put(span)

    def forget(self, traceparent: str) -> None:
        """It did not end here: it will be done again."""
        self._open.pop(traceparent, None)

    @contextmanager
    def around(self, message: Message, name: str, kind: SpanKind, *key: object,
               **attributes: str | int) -> Iterator[Message]:
        """A span as long as the context; what is given is the message as a child of it is to see it."""
        inner = msgspec.structs.replace(message)
        self.begin(inner, name, kind, *key, **attributes)
        try:
            yield inner
        except Exception as error:
            self.end(inner.traceparent, error=str(error) or type(error).__name__)
            raise
        except BaseException:
            self.end(inner.traceparent, error="cancelled")
            raise
        self.end(inner.traceparent)
