"""Structs as tables of their fields, for people: the same types that check manifests, in words."""

from __future__ import annotations

from inspect import getdoc
from typing import Any, get_args

import msgspec
from msgspec import inspect as types

from arint.resources import kinds

_WORDS: dict[type[types.Type], str] = {
    types.StrType: "text", types.IntType: "whole number", types.FloatType: "number", types.BoolType: "`true`, `false`",
    types.AnyType: "anything", types.BytesType: "bytes",
}
_LISTS = (types.ListType, types.VarTupleType)


def _pattern(named: Any) -> str:
    return next(str(meta.pattern) for meta in get_args(named) if isinstance(meta, msgspec.Meta))


_NAMED = {_pattern(getattr(kinds, word)): word.lower() for word in ("Name", "Duration", "Size", "Backoff", "Reference")}


def table(struct: type[msgspec.Struct], *, without: tuple[str, ...] = ()) -> str:
    """The fields of a struct as users write them."""
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    for field in _fields(struct):
        if field.encode_name not in without:
            rows.append(f"| `{field.encode_name}` | {_cell(words(field.type))} | {_default(field)} "
                        f"| {_cell(_description(field.type))} |".replace("|  |", "| |"))
    return "\n".join(rows)


def inner(spec: Any) -> list[type[msgspec.Struct]]:
    """The structs that stand within a type, each once, outermost first."""
    found: dict[type[msgspec.Struct], None] = {}
    waiting = [types.type_info(spec)]
    while waiting:
        kind = waiting.pop(0)
        if isinstance(kind, types.StructType):
            if kind.cls not in found:
                found[kind.cls] = None
                waiting += [field.type for field in kind.fields]
        else:
            waiting += _parts(kind)
    return list(found)


def words(kind: types.Type) -> str:
    """A type in words."""
    match kind:
        case types.Metadata():
            told = words(kind.type)
        case types.StrType() if kind.pattern in _NAMED:
            told = _NAMED[kind.pattern]
        case types.StructType():
            told = f"[{kind.cls.__name__}](#{kind.cls.__name__.lower()})"
        case types.LiteralType():
            told = ", ".join(f"`{value}`" for value in kind.values if value != "")
        case types.UnionType():
            told = " or ".join(words(part) for part in kind.types if not isinstance(part, types.NoneType))
        case types.DictType():
            told = f"mapping of {words(kind.value_type)}"
        case types.ListType() | types.VarTupleType():
            told = "list of steps" if _holds_steps(kind.item_type) else f"list of {words(kind.item_type)}"
        case _:
            told = _WORDS[type(kind)]
    return told.replace("mapping of anything", "mapping")


def _holds_steps(kind: types.Type) -> bool:
    """Steps are the only mappings of anything that stand in lists."""
    return isinstance(kind, types.DictType) and isinstance(kind.value_type, types.AnyType)


def spec_words(spec: Any) -> str:
    """What stands under a key, in words."""
    return words(types.type_info(spec))


def doc(of: Any) -> str:
    """A docstring as Markdown: its own line breaks within a paragraph are of no meaning."""
    text = getdoc(of) or ""
    return "\n\n".join(" ".join(part.split("\n")) for part in text.split("\n\n"))


def _fields(struct: type[msgspec.Struct]) -> tuple[types.Field, ...]:
    found = types.type_info(struct)
    assert isinstance(found, types.StructType)
    return found.fields


def _parts(kind: types.Type) -> list[types.Type]:
    if isinstance(kind, types.Metadata):
        return [kind.type]
    if isinstance(kind, types.UnionType):
        return list(kind.types)
    if isinstance(kind, types.DictType):
        return [kind.value_type]
    return [kind.item_type] if isinstance(kind, _LISTS) else []


def _description(kind: types.Type) -> str:
    """What the field says of itself; what its named type says stands in that type's own words."""
    if not isinstance(kind, types.Metadata):
        return ""
    told = (kind.extra_json_schema or {}).get("description", "")
    generic = {meta.description for named in (kinds.Name, kinds.Duration, kinds.Size, kinds.Backoff)
               for meta in get_args(named) if isinstance(meta, msgspec.Meta)}
    return "" if told in generic else str(told)


def _default(field: types.Field) -> str:
    if field.required:
        return "required"
    value = field.default
    if value is msgspec.NODEFAULT or value in ("", None, (), {}, []) or isinstance(value, msgspec.Struct):
        return ""
    return f"`{msgspec.json.encode(value).decode()}`" if not isinstance(value, str) else f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
