"""What goes into a flow or service, and what comes out, as JSON Schemas: as far as its code and steps tell. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from arint.message import Message
from arint.resources.kinds import Flow

Schema = dict[str, Any]
_DEEPEST = 20
"""Flows that call flows."""


class Contract(msgspec.Struct, frozen=True, omit_defaults=True, tag="contract"):
    """The schemas of a payload and of a result; None where anything may come."""

    payload: Schema | None = None
    result: Schema | None = None


def contract_of(target: str, flows: Mapping[str, Flow], services: Mapping[str, Contract]) -> Contract:
    """That of `flow/NAME` or `service/NAME`; `services` are those that are known."""
    return Contract(_schema(target, flows, services, first=True), _schema(target, flows, services, first=False))


def _schema(target: str, flows: Mapping[str, Flow], services: Mapping[str, Contract], *, first: bool,
            depth: int = 0) -> Schema | None:
    """A flow's payload is what its first step checks or is called with; its result what its last step returns."""
    kind, _, name = target.partition("/")
    if kind == "service":
        known = services.get(name, Contract())
        return known.payload if first else known.result
    flow = flows.get(name)
    if flow is None or depth > _DEEPEST:
        return None
    step = flow.steps[0 if first else -1]
    if "call" in step and isinstance(step["call"], str):
        return _schema(step["call"], flows, services, first=first, depth=depth + 1)
    checked = step.get("validate")
    schema = checked.get("schema") if first and isinstance(checked, dict) else None
    return schema if isinstance(schema, dict) else None


def schema_of(annotation: Any) -> Schema | None:
    """The JSON Schema of a type that a service is annotated with; None for one that says nothing of the body."""
    if annotation in (Any, None, type(None), bytes, str, Message):
        return None
    try:
        return msgspec.json.schema(annotation)
    except (TypeError, ValueError, RecursionError, KeyError):  # a type without a schema is served all the same
        return None


def rooted(schema: Schema, pointer: str) -> Schema:
    """The schema as it stands at `pointer` of a larger document: its own references lead there."""
    found: Schema = _rooted(schema, pointer)
    return found


def _rooted(value: Any, pointer: str) -> Any:
    if isinstance(value, list):
        return [_rooted(item, pointer) for item in value]
    if not isinstance(value, dict) or "$id" in value:  # with an id it is a document of its own
        return value
    return {key: pointer + item[1:] if key == "$ref" and isinstance(item, str) and item.startswith("#")
            else _rooted(item, pointer) for key, item in value.items()}
