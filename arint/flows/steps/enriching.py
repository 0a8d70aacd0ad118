"""`enrich`: ask a service or a system, and keep its answer beside the message's own content."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from arint.flows.expressions import Expression, expression
from arint.flows.json_text import write_json
from arint.flows.state import State
from arint.flows.step import EffectStep, Mistakes, StepError
from arint.flows.steps.assign import Into
from arint.flows.steps.send import answer_of, timeout_of
from arint.message import Message
from arint.resources.kinds import Reference

OWN_KEYS = frozenset({"from", "into", "ask"})
"""All others are the connection's transport's."""


class Enrich(EffectStep):
    """`enrich: {from: connection/stock, into: vars.stock, ...}`: the answer is put there; all else stays as it is.

    `from` is `service/NAME` or `connection/NAME`; `into` is `body`, `body.NAME`, `vars.NAME` or `headers.NAME`. `ask`,
    CEL, is what is asked with, instead of the body. The further keys are the connection's transport's own, as in
    `send`. An answer that is no JSON is put there as text; where there is none, null.
    """

    key: ClassVar[str] = "enrich"
    Spec: ClassVar[Any] = dict[str, Any]

    def __init__(self, spec: dict[str, Any]) -> None:
        found = Mistakes()
        with found.at(*(("from",) if "from" in spec else ())):
            self._target = _source(spec.get("from"))
        with found.at(*(("into",) if "into" in spec else ())):
            self._into = Into(spec.get("into"))
        self._ask: Expression | None = None
        if "ask" in spec:
            with found.at("ask"):
                self._ask = _question(spec["ask"])
        found.refuse()
        self._options = {key: value for key, value in spec.items() if key not in OWN_KEYS}
        self._kind, _, self._name = self._target.partition("/")
        if self._kind == "service":
            for key in self._options.keys() - {"timeout"}:
                raise StepError(f'unknown key "{key}"', (key,), "a service takes ask, into and timeout")
        self._timeout = timeout_of(self._options.get("timeout"))

    @property
    def target(self) -> str:
        """`service/NAME` or `connection/NAME`."""
        return self._target

    async def perform(self, state: State, idempotency_key: str) -> None:
        """Ask, and keep the answer. What a service sends besides is stored with it."""
        question = self._question(state)
        if self._kind == "service":
            reply = await state.effects.call(self._name, question, idempotency_key, self._timeout)
            state.outputs.extend(reply.outputs)
            self._into.put(state, answer_of(reply.message.body))
        else:
            answer = await state.effects.send(self._target, question, self._options, idempotency_key, self._timeout)
            self._into.put(state, answer_of(answer))

    def _question(self, state: State) -> Message:
        message = state.message()
        if self._ask is None:
            return message
        return msgspec.structs.replace(message, body=write_json(self._ask.evaluate(state)),
                                       content_type="application/json")


def _source(written: Any) -> str:
    try:
        source: str = msgspec.convert(written, Reference)
    except msgspec.ValidationError:
        source = ""
    if source.partition("/")[0] not in ("service", "connection"):
        raise StepError("where from is not said", (), "from: service/NAME or connection/NAME")
    return source


def _question(written: Any) -> Expression:
    if not isinstance(written, str):
        raise StepError("must be CEL", (), "such as ask: \"{'sku': body.sku}\"")
    return expression(written)
