"""CEL in steps: conditions, values, and texts with `{{ … }}`. Compiled once a process."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from arint.errors import RejectedError
from arint.flows.json_text import write_json
from arint.flows.step import StepError

if TYPE_CHECKING:
    from arint.flows.state import State
    from arint.masking import Masks

NAMES = ("body", "headers", "vars", "message", "error")
"""What an expression may speak of."""

_TYPES = frozenset({"int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type",
                    "timestamp", "duration", "dyn", "google", "optional", "cel", "math"})
_BOUND = re.compile(r"\.\s*(?:map|filter|all|exists|exists_one)\s*\(\s*([A-Za-z_]\w*)\s*,|\bbind\s*\(\s*([A-Za-z_]\w*)")
_BODY = re.compile(r"(?<![\w.])body\b")
# Possessive, so that a call such as body.size() is not taken for the field "siz".
_FIELD = re.compile(r"body\s*\.\s*([A-Za-z_]\w*+)(?!\s*\()")
_HOLE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_PLACE = re.compile(r"<input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")


class Expression:
    """One CEL expression over `body`, `headers`, `vars`, `message` and `error`."""

    __slots__ = ("_fields", "_names", "_program", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self._program = _compiled(source)
        self._names = _names(source, self._program.variables())
        self._fields = _fields(source)

    @property
    def is_constant(self) -> bool:
        """Does it speak of nothing in the message?"""
        return not self._names

    def evaluate(self, state: State) -> Any:
        """Its value. Raises RejectedError where the message does not have what it speaks of."""
        try:
            value = self._program.execute({name: self._value(name, state) for name in self._names})
            return _in_order(value) if isinstance(value, dict | list) else value
        except RejectedError:
            raise
        except KeyError as error:
            what = f"there is no {error} in the message"
        except Exception as error:  # the Rust side raises many kinds; each means: not with this message
            what = str(error).partition(". ")[0] or type(error).__name__
        raise RejectedError(f"`{self.source}`: {what}", remedy="use has(…) for what may be missing")

    def holds(self, state: State) -> bool:
        """Its truth. Raises RejectedError for a value that is neither true nor false."""
        value = self.evaluate(state)
        if value is True or value is False:
            return value
        raise RejectedError(f"`{self.source}` is neither true nor false but {type(value).__name__}")

    def _value(self, name: str, state: State) -> Any:
        if name == "body":
            body = state.body
            if self._fields is not None and type(body) is dict:
                # Handing a value to CEL copies it: 60 µs for a body of ten lines, 3 µs for one field of it.
                return {field: body[field] for field in self._fields if field in body}
            return body
        if name == "message":
            return state.seen
        if name == "vars":
            return state.variables
        return state.headers if name == "headers" else state.error


def _in_order(value: Any) -> Any:
    """A value whose maps are in the order of their keys.

    CEL's maps have none: one that was taken from a message comes back in another order each time. But what is done
    again must be the same again, and what a key of a group or of an order is written from, too.
    """
    if isinstance(value, dict):
        return {key: _in_order(value[key]) for key in sorted(value, key=lambda key: (type(key).__name__, key))}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


class Template:
    """A text with expressions in double braces: `order {{ body.id }} is done`."""

    __slots__ = ("_parts",)

    def __init__(self, text: str) -> None:
        pieces = _HOLE.split(text)
        self._parts = [expression(piece.strip()) if index % 2 else piece for index, piece in enumerate(pieces)]

    def fill(self, state: State, quote: Callable[[str], str] = str) -> str:
        """The text for this message, each value in it `quote`d. Raises RejectedError."""
        return "".join(part if isinstance(part, str) else quote(as_text(part.evaluate(state)))
                       for part in self._parts)

    def show(self, state: State, masks: Masks) -> str:
        """The text for this message, as it may be shown. Raises RejectedError."""
        return "".join(part if isinstance(part, str) else as_text(_shown(part, state, masks)) for part in self._parts)


class _Masked:
    """A message's state as it may be shown: what an expression looks at, with masks."""

    def __init__(self, state: State, masks: Masks) -> None:
        self._state, self._masks = state, masks
        self.seen, self.error = state.seen, state.error

    @property
    def body(self) -> Any:
        return self._masks.value(self._state.body)

    @property
    def headers(self) -> Any:
        return self._masks.headers(self._state.headers)

    @property
    def variables(self) -> Any:
        return self._masks.variables(self._state.variables)


_PLAIN = re.compile(r"[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*")


def _shown(part: Expression, state: State, masks: Masks) -> Any:
    """The value of an expression as it may be shown. Most name one field with a plain name: that is looked up first,
    since a message with its masks is a copy.
    """
    if _PLAIN.fullmatch(part.source) and not masks.may_hide(part.source.replace(" ", "")):
        value = part.evaluate(state)
        if not isinstance(value, dict | list):
            return value
    return part.evaluate(_Masked(state, masks))  # type: ignore[arg-type]


@lru_cache(maxsize=4096)
def expression(source: str) -> Expression:
    """The compiled expression. Raises StepError, which names the place."""
    return Expression(source)


def as_text(value: Any) -> str:
    """A value inside of a text or a header: text as it is, true and false and null as in JSON, else JSON."""
    return value if isinstance(value, str) else write_json(value).decode()


def _compiled(source: str) -> Any:
    import cel

    try:
        return cel.compile(source)
    except RecursionError:
        raise StepError("nested too deep") from None
    except Exception as error:
        found = _PLACE.search(str(error))
        if found is None:
            raise StepError(f"not a CEL expression: {str(error)[:200]}") from None
        what = found[3].partition(" expecting {")[0]
        raise StepError(f"not a CEL expression: column {found[2]}: {what}") from None


def _names(source: str, used: list[str]) -> tuple[str, ...]:
    """Those of NAMES that it speaks of. Raises StepError for a name that is nothing."""
    from arint.resources.problems import nearest

    bound = {name for pair in _BOUND.findall(source) for name in pair}
    for name in used:
        if name not in NAMES and name not in bound and name not in _TYPES:
            raise StepError(f'unknown name "{name}"', suggestion=nearest(name, NAMES))
    return tuple(name for name in NAMES if name in used)


def _fields(source: str) -> frozenset[str] | None:
    """The fields of the body that it speaks of, if it speaks of the body in no other way; else None."""
    fields = []
    for found in _BODY.finditer(source):
        field = _FIELD.match(source, found.start())
        if field is None:
            return None
        fields.append(field[1])
    return frozenset(fields)
