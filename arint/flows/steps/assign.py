"""`set`: give fields of the body, headers and variables new values."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from arint.errors import RejectedError
from arint.flows.expressions import as_text, expression
from arint.flows.state import State
from arint.flows.step import Mistakes, PureStep, StepError

_Target = tuple[str, tuple[str, ...]]


class Set(PureStep):
    """`{body.total: "body.net * 1.19", headers.x-kind: "'large'", vars.tries: 3}`.

    Text is a CEL expression, anything else is itself. All expressions see the message as it was before the step.
    A header that is set to null goes.
    """

    key: ClassVar[str] = "set"
    Spec: ClassVar[Any] = dict[str, Any]

    def __init__(self, spec: dict[str, Any]) -> None:
        if not spec:
            raise StepError("nothing is set", suggestion="such as {vars.large: body.total > 1000}")
        found = Mistakes()
        self._targets: list[tuple[_Target, tuple[bool, Any]]] = []
        for key, value in spec.items():
            with found.at(key):
                self._targets.append((_target(key), (True, expression(value)) if isinstance(value, str)
                                      else (False, value)))
        found.refuse()

    def apply(self, state: State) -> None:
        """Raises RejectedError; then nothing is set."""
        _assign(state, [(target, value.evaluate(state) if computed else value)
                        for target, (computed, value) in self._targets])


class Into:
    """The one place in which a step leaves its result: `body`, `body.NAME`, `headers.NAME` or `vars.NAME`."""

    def __init__(self, written: Any) -> None:
        if not isinstance(written, str):
            raise StepError("where the answer goes is not said", (), "into: vars.NAME, body.NAME or body")
        self._target = _target(written)

    def put(self, state: State, value: Any) -> None:
        """Leave it there. Raises RejectedError where what is to hold it is no object."""
        _assign(state, [(self._target, value)])


def _assign(state: State, values: list[tuple[_Target, Any]]) -> None:
    """All or nothing."""
    changed: dict[str, Any] = {}
    for (area, path), value in values:
        whole = changed[area] if area in changed else _current(state, area, path)
        changed[area] = _with_header(whole, path[0], value) if area == "headers" else _with(whole, path, value)
    if "body" in changed:
        state.body = changed["body"]
    if "headers" in changed:
        state.headers = changed["headers"]
    if "vars" in changed:
        state.variables = changed["vars"]


def _target(key: str) -> _Target:
    area, _, rest = key.partition(".")
    path = (rest.lower(),) if area == "headers" else tuple(rest.split("."))
    if key == "body":
        return area, ()
    if area not in ("body", "headers", "vars") or not all(path):
        raise StepError(f'"{key}" cannot be set', (), "body.NAME, headers.NAME or vars.NAME")
    return area, path


def _current(state: State, area: str, path: tuple[str, ...]) -> Any:
    if area == "body":
        return state.body if path else None
    return state.headers if area == "headers" else state.variables


def _with(whole: Any, path: tuple[str, ...], value: Any) -> Any:
    """`whole` with `value` at `path`; what stands on the way is copied, never changed in place."""
    if not path:
        return msgspec.to_builtins(value)  # CEL gives dates and durations; they are written as JSON writes them
    if whole is None:
        whole = {}
    if not hasattr(whole, "items"):
        raise RejectedError(f'"{path[0]}" cannot be set: what is to hold it is no object')
    return {**whole, path[0]: _with(whole.get(path[0]), path[1:], value)}


def _with_header(headers: Any, name: str, value: Any) -> dict[str, str]:
    if value is None:
        return {key: kept for key, kept in headers.items() if key != name}
    text = as_text(value)
    if any(sign in text for sign in "\r\n\0"):
        raise RejectedError(f"the header {name} must be one line")
    return {**headers, name: text}
