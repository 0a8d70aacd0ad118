"""`map`: a new body by a JSONata expression over the old one."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

import msgspec

from arint.errors import MessageError, RejectedError
from arint.flows.state import State
from arint.flows.step import Mistakes, PureStep, StepError

TIME_LIMIT = 1.0
"""Seconds that one evaluation may take: it holds up everything else in its process."""
_CHECK_EVERY = 64


class MapSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`expr`: the expression; or `file`: the file that holds it."""

    expr: str = ""
    file: str = ""


class Map(PureStep):
    """JSONata: the body is the input; `$headers`, `$vars`, `$message` and `$error` are bound."""

    key: ClassVar[str] = "map"
    Spec: ClassVar[Any] = str | MapSpec
    files: ClassVar[Mapping[str, tuple[str, str]]] = {"file": ("expr", "text")}

    def __init__(self, spec: str | MapSpec) -> None:
        if isinstance(spec, str):
            self._mapping = _mapping(spec)
            return
        if not spec.expr:
            raise StepError(f"the file {spec.file} was not read" if spec.file else 'the key "expr" is missing')
        found = Mistakes()
        with found.at("expr"):
            self._mapping = _mapping(spec.expr)
        found.refuse()

    def apply(self, state: State) -> None:
        """Raises RejectedError where the expression does not fit the body."""
        state.body = self._mapping.evaluate(state)


class _LateError(Exception):
    """The time is up."""


class _Mapping:
    """One compiled expression, bounded in time.

    The library's own bound asks the clock twice for each node and miscounts the depth of an object's fields; this
    one counts nodes and asks the clock now and then. Depth is bounded by the interpreter.
    """

    def __init__(self, source: str) -> None:
        self._compiled = _parse(source)
        self._compiled.set_validate_input(False)  # it comes from a JSON parser
        self._compiled.environment.bind("__evaluate_entry", self._tick)
        self._left = 0
        self._deadline = 0.0

    def evaluate(self, state: State) -> Any:
        body = state.body
        bindings = {"headers": dict(state.headers), "vars": dict(state.variables), "message": state.seen,
                    "error": state.error}
        self._left = _CHECK_EVERY
        self._deadline = time.monotonic() + TIME_LIMIT
        try:
            return self._compiled.evaluate(body, bindings)
        except _LateError:
            raise MessageError(f"the mapping took longer than {TIME_LIMIT:g} s") from None
        except RecursionError:
            what = "nested too deep"
        except Exception as error:  # the library raises its own kind, and whatever Python raises inside of it
            what = str(error) or type(error).__name__
        raise RejectedError(f"the mapping does not fit the body: {what}")

    def _tick(self, *_: Any) -> None:
        self._left -= 1
        if self._left <= 0:
            self._left = _CHECK_EVERY
            if time.monotonic() > self._deadline:
                raise _LateError


@lru_cache(maxsize=1024)
def _mapping(source: str) -> _Mapping:
    return _Mapping(source)


def _parse(source: str) -> Any:
    limit = sys.getrecursionlimit()
    from jsonata import Jsonata  # 50 ms, and it raises the recursion limit of the whole process when imported
    from jsonata.jexception import JException

    sys.setrecursionlimit(limit)
    try:
        return Jsonata(source)
    except JException as error:
        raise StepError(f"not a JSONata expression: {_where(source, error.location)}{error}") from None
    except RecursionError:
        raise StepError("not a JSONata expression: nested too deep") from None
    except Exception as error:
        raise StepError(f"not a JSONata expression: {error}") from None


def _where(source: str, location: int) -> str:
    if not 0 <= location <= len(source):
        return ""
    before = source[:location]
    return f"line {before.count(chr(10)) + 1}, column {location - before.rfind(chr(10))}: "
