"""What changes between two sets of resources, field by field, with nothing secret in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from arint.resources.kinds import KINDS
from arint.resources.problems import Path, path_text

MASK = "***"
_SECRET_WORDS = re.compile(r"pass(word|wd|phrase)|(^|[_-])pwd$|secret|token|credential|private|api_?key", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(://[^/?#\s:@]*:)[^/#\s@]+(@)")
_MISSING: Any = msgspec.UNSET


class FieldChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field: its path (`steps[2].call`), and its values; what is new has no `before`, what is gone no `after`."""

    path: str
    before: Any = msgspec.UNSET
    after: Any = msgspec.UNSET
    note: str = ""


class Change(msgspec.Struct, frozen=True):
    """One resource that is added, changed or removed."""

    kind: str
    name: str
    action: Literal["added", "changed", "removed"]
    fields: tuple[FieldChange, ...] = ()


def diff(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> list[Change]:
    """The changes from one set to another; both hold canonical JSON by key (`Kind/name`).

    In the order of kinds, then by name.
    """
    changes = [_change(key, before.get(key), after.get(key)) for key in before.keys() | after.keys()
               if before.get(key) != after.get(key)]
    kinds = list(KINDS)
    return sorted(changes, key=lambda change: (kinds.index(change.kind) if change.kind in kinds else len(kinds),
                                               change.kind, change.name))


def _change(key: str, before: bytes | None, after: bytes | None) -> Change:
    kind, _, name = key.partition("/")
    if before is None:
        return Change(kind, name, "added", tuple(_fields({}, _decoded(after))))
    if after is None:
        return Change(kind, name, "removed")
    fields = tuple(_fields(_decoded(before), _decoded(after)))
    return Change(kind, name, "changed", fields or (FieldChange("", note="the order of keys"),))


def _decoded(data: bytes | None) -> dict[str, Any]:
    written: dict[str, Any] = msgspec.json.decode(data or b"{}")
    return {key: value for key, value in written.items() if key not in ("kind", "name")}


def _fields(before: Any, after: Any) -> Iterator[FieldChange]:
    for path, old, new in _differences(before, after, ()):
        if path == ("digest",):
            yield FieldChange("value", note="a new value" if old is _MISSING else "another value")
        elif path == ("code",):
            yield FieldChange("code", _short(old), _short(new))
        elif path[:1] == ("locked",):
            yield FieldChange(path_text(path), _without_hashes(old), _without_hashes(new))
        else:
            yield FieldChange(path_text(path), masked(old, path), masked(new, path))


def _differences(before: Any, after: Any, path: Path) -> Iterator[tuple[Path, Any, Any]]:
    """The smallest parts that differ: within mappings key by key, within lists of one length place by place."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _differences(before.get(key, _MISSING), after.get(key, _MISSING), (*path, key))
    elif isinstance(before, list) and isinstance(after, list):
        for index in range(max(len(before), len(after))):
            yield from _differences(before[index] if index < len(before) else _MISSING,
                                    after[index] if index < len(after) else _MISSING, (*path, index))
    elif not _same(before, after):
        yield path, before, after


def _same(before: Any, after: Any) -> bool:
    """True is not 1, and 1 is not 1.0, though Python says that they are equal."""
    return type(before) is type(after) and bool(before == after)


def _short(digest: Any) -> Any:
    return digest[:12] if isinstance(digest, str) else digest


def _without_hashes(packages: Any) -> Any:
    """Versions say what changes; the hashes stand in the resource."""
    if isinstance(packages, list):
        return [_without_hashes(one) for one in packages]
    if isinstance(packages, dict):
        return {key: _without_hashes(one) for key, one in packages.items()}
    return packages.partition(" --hash=")[0] if isinstance(packages, str) else packages


def masked(value: Any, path: Path = ()) -> Any:
    """The value with what looks like a secret hidden: by the name of its key, or as the password in a URL.

    `{secret: name}` is a name and stays.
    """
    if isinstance(value, dict):
        if set(value) == {"secret"}:
            return value
        return {key: masked(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item, (*path, index)) for index, item in enumerate(value)]
    words = [part for part in path if isinstance(part, str)]
    if isinstance(value, str) and words[-1:] != ["secret"] and words[:1] != ["secrets"]:
        if words and _SECRET_WORDS.search(words[-1]):
            return MASK
        return _URL_PASSWORD.sub(rf"\1{MASK}\2", value)
    return value
