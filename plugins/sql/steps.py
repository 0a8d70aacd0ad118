"""`query`: what a flow asks a database."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from arint.errors import RejectedError
from arint.flows.json_text import parse_json
from arint.flows.state import State
from arint.flows.step import EffectStep
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
        area, _, path = spec.into.partition(".")
        self._area, self._path = area, tuple(path.split(".")) if path else ()
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
        if self._area == "vars":
            state.variables = _with(state.variables, self._path, answer)
        else:
            state.body = _with(state.body if self._path else None, self._path, answer)


def _with(whole: Any, path: tuple[str, ...], value: Any) -> Any:
    """`whole` with `value` at `path`; what stands on the way is copied, never changed in place."""
    if not path:
        return value
    held = {} if whole is None else whole
    if not hasattr(held, "items"):
        raise RejectedError(f'"{path[0]}" cannot be set: what is to hold it is no object')
    return {**held, path[0]: _with(held.get(path[0]), path[1:], value)}
