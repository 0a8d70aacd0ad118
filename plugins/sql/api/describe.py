"""A data API as its callers are told of it: an operation for each query. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arint.plugins import Operation, OperationParameter
from plugins.sql.api.specs import ApiQuery, in_path
from plugins.sql.api.step import Answer

_ITEMS: dict[str, Any] = {"type": "array", "items": {"type": "object"}}
_RESULTS: Mapping[str, dict[str, Any]] = {
    "one": {"type": "object"}, "scalar": {},
    "all": {"type": "object", "required": ["items"], "properties": {"items": _ITEMS}},
    "changed": {"type": "object", "required": ["changed"], "properties": {
        "changed": {"type": "integer", "description": "how many rows were changed"}}},
}
_PAGED = {"type": "object", "required": ["items", "next"], "properties": {"items": _ITEMS, "next": {
    "type": ["string", "null"], "format": "uri-reference", "description": "the next page; null on the last"}}}


class SqlApi:
    """See `arint.plugins.Api`."""

    def operations(self, queries: Mapping[str, ApiQuery]) -> tuple[Operation, ...]:
        """One for each query."""
        return tuple(_operation(name, query) for name, query in queries.items())

    def step(self, queries: Mapping[str, ApiQuery], connection: str) -> Answer:
        """What answers them."""
        return Answer(queries, f"connection/{connection}")


def _operation(name: str, query: ApiQuery) -> Operation:
    inside = in_path(query.path)
    rest = {one: query.params[one] for one in query.params if one not in inside}
    has_body = query.method not in ("GET", "DELETE")
    parameters = [OperationParameter(one, query.params[one].schema) for one in inside]
    payload = None
    if has_body and rest:
        payload = {"type": "object", "additionalProperties": False,
                   "properties": {one: parameter.schema for one, parameter in rest.items()},
                   "required": [one for one, parameter in rest.items() if parameter.is_required]}
    elif not has_body:
        parameters += [OperationParameter(one, parameter.schema, parameter.is_required)
                       for one, parameter in rest.items()]
    return Operation(name, query.method, query.path, query.description, (*parameters, *_paging(query)), payload,
                     _PAGED if query.page is not None else _RESULTS[query.answered], tuple(query.roles))


def _paging(query: ApiQuery) -> list[OperationParameter]:
    if query.page is None:
        return []
    found = [OperationParameter("limit", {"type": "integer", "minimum": 1, "maximum": query.page.max,
                                          "default": query.page.size}, is_required=False),
             OperationParameter("after", {"type": "string", "description": "as `next` gives it"}, is_required=False)]
    if query.sort:
        ways = [way for column in query.sort for way in (column, f"-{column}")]
        found.append(OperationParameter("sort", {"type": "string", "enum": ways}, is_required=False))
    return found
