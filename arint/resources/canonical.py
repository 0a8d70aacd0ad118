"""A resource as its user writes it (plain data), as it is stored (canonical JSON), and as it is exported (YAML).

The written form has `kind` and `name` first and the transport as a key of its own. The order of keys inside is kept,
since in a flow it may carry meaning, and an export should look like what was written. Fields at their defaults are
left out. Reading back gives an equal resource: `from_canonical(canonical(r)) == r`, and the same through YAML.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import msgspec

from arint.errors import NotValidError
from arint.resources.kinds import KINDS, Channel, Connection, Resource, kind_of

LARGEST = 256 * 2**10
"""A resource is at most this many bytes of canonical JSON (DESIGN section 4)."""

_encoder = msgspec.json.Encoder()


def plain(resource: Resource) -> dict[str, Any]:
    """The resource as a user writes it: `{kind, name, http: {...}, ...}`."""
    fields = cast(dict[str, Any], msgspec.to_builtins(resource))
    written: dict[str, Any] = {"kind": kind_of(resource), "name": fields.pop("name")}
    if isinstance(resource, Channel | Connection):
        transport = fields.pop("transport")
        written[transport] = fields.pop("spec")
    return written | fields


def from_plain(written: dict[str, Any]) -> Resource:
    """The resource that was written so. Raises NotValidError, with the first problem only: see `manifests` for all.

    Whether a plugin for the transport is installed is not asked: what is stored stays readable.
    """
    kind = written.get("kind")
    if kind not in KINDS:
        raise NotValidError(f"unknown kind {kind!r}", where=str(written.get("name", "")) or None,
                            remedy=f"kinds are {', '.join(KINDS)}")
    struct = KINDS[kind]
    fields = {key: value for key, value in written.items() if key != "kind"}
    if struct in (Channel, Connection):
        fields = _with_transport(struct, fields)
    try:
        return cast(Resource, msgspec.convert(fields, struct))
    except msgspec.ValidationError as error:
        raise NotValidError(str(error), where=f"{kind}/{written.get('name', '?')}") from None


def _with_transport(struct: type[msgspec.Struct], fields: dict[str, Any]) -> dict[str, Any]:
    """The one key that is no field of the kind becomes `transport` and `spec`."""
    own = set(struct.__struct_encode_fields__) - {"transport", "spec"}
    others = [key for key in fields if key not in own]
    if len(others) != 1:
        raise NotValidError(f"exactly one transport key is needed, here: {', '.join(others) or 'none'}",
                            where=f"{struct.__name__}/{fields.get('name', '?')}")
    kept = {key: value for key, value in fields.items() if key in own}
    return kept | {"transport": others[0], "spec": fields[others[0]]}


def canonical(resource: Resource) -> bytes:
    """The stored form: JSON in UTF-8 without white space."""
    return _encoder.encode(plain(resource))


def from_canonical(data: bytes) -> Resource:
    """The resource that was stored so. Raises NotValidError."""
    try:
        written = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise NotValidError(f"a stored resource is no JSON: {error}") from None
    if not isinstance(written, dict):
        raise NotValidError("a stored resource is no JSON object")
    return from_plain(written)


def to_yaml(resources: Iterable[Resource]) -> str:
    """All resources as one multi-document manifest, in the order given."""
    from arint.resources.documents import dump

    return dump([plain(resource) for resource in resources])
