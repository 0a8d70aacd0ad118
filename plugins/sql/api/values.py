"""A request's parameters as values: of their type, within their bounds, and no others than those declared. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec

from arint.errors import MalformedError
from arint.flows.json_text import parse_json
from plugins.sql.api.specs import ApiQuery, Parameter

_INTEGER = re.compile(r"-?\d{1,18}")
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,300})(\.\d{1,300})?([eE][+-]?\d{1,2})?")
_LARGEST = 2**63
Given = Mapping[str, str | list[str]]


def values_of(query: ApiQuery, path: Mapping[str, str], given: Given, body: bytes) -> dict[str, Any]:
    """A value for each declared parameter. Raises MalformedError, which names the parameter."""
    found: dict[str, Any] = dict(path)
    if query.method in ("GET", "DELETE"):
        _refuse_others(given, query.params.keys() - path.keys(), "the query has no parameter")
        found |= given
        return {name: _value(name, parameter, found, written=True) for name, parameter in query.params.items()}
    _refuse_others(given, frozenset(), "parameters stand in the body, not in the query:")
    fields = _fields(body, needed=bool(query.params.keys() - path.keys()))
    _refuse_others(fields, query.params.keys() - path.keys(), "the body has no field")
    return {name: _value(name, parameter, found if name in path else fields, written=name in path)
            for name, parameter in query.params.items()}


def _refuse_others(given: Mapping[str, Any], known: Any, told: str) -> None:
    from arint.resources.problems import nearest

    for name in given:
        if name not in known:
            hint = nearest(name, known)
            raise MalformedError(f"{told} {name!r}"[:200] + (f" ({hint})" if hint else ""))


def _fields(body: bytes, *, needed: bool) -> dict[str, Any]:
    if not body and not needed:
        return {}
    try:
        found = parse_json(body)
    except Exception as error:
        raise MalformedError(f"the body is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise MalformedError("the body is no JSON object")
    return found


def _value(name: str, parameter: Parameter, given: Mapping[str, Any], *, written: bool) -> Any:
    value = given.get(name)
    if value is None:
        if parameter.is_required:
            raise MalformedError(f"the parameter {name} is missing")
        return parameter.default
    if written:
        value = _read_all(name, parameter, value)
    _check(name, parameter, value)
    return _bound(name, parameter, value)


def _read_all(name: str, parameter: Parameter, value: str | list[str]) -> Any:
    if parameter.type == "array":
        return [_read(name, parameter.items, item) for item in ([value] if isinstance(value, str) else value)]
    if isinstance(value, list):
        raise MalformedError(f"the parameter {name} may stand there once")
    return _read(name, parameter.type, value)


def _read(name: str, kind: str, text: str) -> Any:
    """What JSON would have, of what stands in an address."""
    if kind == "integer" and _INTEGER.fullmatch(text):
        return int(text)
    if kind == "number" and _NUMBER.fullmatch(text):
        return float(text)
    if kind == "boolean" and text in ("true", "false"):
        return text == "true"
    if kind == "string":
        return text
    raise MalformedError(f"the parameter {name} must be {_WORDS[kind]}")


_WORDS = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "text"}


def _check(name: str, parameter: Parameter, value: Any) -> None:
    error = next(iter(_validator(msgspec.json.encode(parameter.schema)).iter_errors(value)), None)
    if error is not None:
        raise MalformedError(f"the parameter {name}: {error.message}"[:500])


@lru_cache(maxsize=1024)
def _validator(schema: bytes) -> Any:
    import jsonschema_rs

    return jsonschema_rs.validator_for(msgspec.json.decode(schema), validate_formats=True)


def _bound(name: str, parameter: Parameter, value: Any) -> Any:
    """As a driver takes it. Numbers keep their digits; what no database has, is refused here."""
    if isinstance(value, list):
        return [_bound(name, parameter, item) for item in value]
    if isinstance(value, str) and "\0" in value:
        raise MalformedError(f"the parameter {name} holds the sign NUL")
    if isinstance(value, bool | str):
        return value
    if parameter.kind == "integer":
        value = int(value)  # JSON Schema takes 1.0 and 1e3 for whole numbers
        if not -_LARGEST <= value < _LARGEST:
            raise MalformedError(f"the parameter {name} is too large")
    return Decimal(repr(value)) if isinstance(value, float) else value
