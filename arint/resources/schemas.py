"""JSON Schema (2020-12) of each kind as users write it, for editors and for the console's forms.

Made from the same structs that check manifests, so the two cannot drift apart.
"""

from __future__ import annotations

from typing import Any

import msgspec

from arint.errors import NotFoundError
from arint.plugins import step_types, transports
from arint.resources.kinds import KINDS, Channel, Connection, Flow, Service
from arint.resources.problems import nearest

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(kind: str) -> dict[str, Any]:
    """The schema of one kind's documents. Raises NotFoundError for a kind that does not exist."""
    by_lower = {name.lower(): name for name in KINDS}
    name = by_lower.get(kind.lower())
    if name is None:
        raise NotFoundError(f"there is no kind {kind!r}", remedy=nearest(kind, KINDS))
    schema, definitions = _document(name)
    return {"$schema": DIALECT, "title": name, **schema, "$defs": definitions}


def schema_of_all() -> dict[str, Any]:
    """One schema for manifests that hold documents of any kind."""
    documents, definitions = [], {}
    for kind in KINDS:
        schema, needed = _document(kind)
        documents.append({"title": kind, **schema})
        definitions.update(needed)
    return {"$schema": DIALECT, "title": "ARINT manifest", "oneOf": documents, "$defs": definitions}


def _document(kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of a document, and the definitions it refers to."""
    struct = KINDS[kind]
    schemas, definitions = msgspec.json.schema_components([struct, *_plugin_structs(struct)])
    schema = dict(definitions.pop(struct.__name__))
    del schema["title"]
    written = {"kind": {"const": kind}, **schema["properties"]}
    required = ["kind", *schema.get("required", [])]
    schema |= {"properties": written, "required": required}
    if struct in (Channel, Connection):
        _with_transports(schema, struct, schemas[1:])
    if struct is Channel:
        published = [one.queries for one in transports().values() if one.queries is not None]
        forms, more = msgspec.json.schema_components(published)
        definitions |= more
        schema["properties"]["queries"]["additionalProperties"] = forms[0] if len(forms) == 1 else {"anyOf": forms}
    if struct is Service:
        schema["oneOf"] = [{"required": [key]} for key in ("source", "command")]
    if struct is Flow:
        _with_steps(schema, definitions, schemas[1:])
    return schema, definitions


def _roles(struct: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    """The transports that a kind may have, with their spec's struct."""
    role = struct.__name__.lower()
    return {name: getattr(transport, role) for name, transport in sorted(transports().items())
            if getattr(transport, role) is not None}


def _plugin_structs(struct: type[msgspec.Struct]) -> list[Any]:
    if struct in (Channel, Connection):
        return list(_roles(struct).values())
    return [step.Spec for _, step in sorted(step_types().items())] if struct is Flow else []


def _with_transports(schema: dict[str, Any], struct: type[msgspec.Struct], specs: tuple[Any, ...]) -> None:
    """`transport` and `spec` become one key, which is exactly one of the installed transports'."""
    names = list(_roles(struct))
    for field in ("transport", "spec"):
        del schema["properties"][field]
        schema["required"].remove(field)
    schema["properties"].update(zip(names, specs, strict=True))
    schema["oneOf"] = [{"required": [name]} for name in names]


def _with_steps(schema: dict[str, Any], definitions: dict[str, Any], specs: tuple[Any, ...]) -> None:
    """A step is a mapping with exactly one step type's key, beside what any step may have."""
    types = dict(sorted(step_types().items()))
    keys: dict[str, Any] = {"name": {"type": "string"}, "retry": {"$ref": "#/$defs/Retry"}}
    for (key, step), spec in zip(types.items(), specs, strict=True):
        if step.siblings:  # the spec is then the step's whole mapping
            keys |= definitions.get(step.Spec.__name__, {}).get("properties", {})
        else:
            keys[key] = spec
    definitions["Step"] = {"type": "object", "properties": keys, "additionalProperties": False,
                           "oneOf": [{"required": [key]} for key in types]}
    schema["properties"]["steps"] = {**schema["properties"]["steps"], "items": {"$ref": "#/$defs/Step"}}
