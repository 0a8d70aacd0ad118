"""`query`: what a flow asks a database."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from arint.flows.json_text import parse_json
from arint.flows.state import State
from arint.flows.step import EffectStep
from arint.flows.steps.assign import Into
from arint.resources.quantities import seconds
from plugins.sql.specs import QuerySpec

_OPTIONS = ("statement", "params", "rows", "limit", "once", "timeout")


class Query(EffectStep):
    """`{from: connection/warehouse, statement: "select … where sku = :sku", into: vars.stock, rows: one}`.

    `:name` is the body's field of that name, or what `params` names for it, as in `send`. The answer goes into the
    body, a field of it, or a variable; everything else of the message stays.
    """

    key: ClassVar[str] = "query"
    Spec: ClassVar[Any] = QuerySpec

    def __init__(self, spec: QuerySpec) -> None:
        self._spec = spec
        self._into = Into(spec.into)
        written = msgspec.to_builtins(spec)
        self._options = {key: written[key] for key in _OPTIONS if key in written} | {"rows": spec.rows}
        self._timeout = seconds(spec.timeout) if spec.timeout else 0.0

    @property
    def target(self) -> str:
        """`connection/NAME`."""
        return self._spec.source

    async def perform(self, state: State, idempotency_key: str) -> None:
        """Ask, and keep the answer; null where the statements gave no rows."""
        told = await state.effects.send(self.target, state.message(), self._options, idempotency_key, self._timeout)
        answer = None if told is None else parse_json(told)
        self._into.put(state, answer)
