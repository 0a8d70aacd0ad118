"""Formats as steps and sources use them: how they are written in a manifest, and opened.

A format is written as its name, or as a mapping that names it beside its options: `csv`, or
`{format: csv, delimiter: ";"}`.
"""

from __future__ import annotations

import operator
from functools import cache, reduce
from typing import Any, Literal

import msgspec

from arint.errors import NotFoundError
from arint.plugins import Format, formats, load
from arint.resources.problems import nearest


def choice(key: str, prefix: str, **further: tuple[Any, Any]) -> Any:
    """The type of a mapping that says by `key` which format it means: `FormatCsv | FormatJson | …`.

    `further` are fields that each of them has besides, with type and default.

    Of the formats of all installed plugins, so it is not to be asked for while they are loaded. In a Struct it stands
    in the annotation, which msgspec reads when it first needs it; in a step, in a `LazySpec`.
    """
    return _choice(key, prefix, tuple((name, kind, default) for name, (kind, default) in further.items()))


@cache
def _choice(key: str, prefix: str, fields: tuple[tuple[str, Any, Any], ...]) -> Any:
    return reduce(operator.or_, (
        msgspec.defstruct(f"{prefix}{kind.options.__name__}", fields, bases=(kind.options,), tag_field=key, tag=name,
                          module=__name__, namespace={"__doc__": kind.options.__doc__})
        for name, kind in formats().items()))


@cache
def name_or_choice(key: str, prefix: str, *further: type[msgspec.Struct]) -> Any:
    """As `choice`, or the name alone where the format needs no options. `further` are structs with a tag."""
    alone = [name for name, kind in formats().items()
             if not any(field.required for field in msgspec.structs.fields(kind.options))]
    names = (*alone, *(str(struct.__struct_config__.tag) for struct in further))
    return reduce(operator.or_, further, Literal[names] | choice(key, prefix))


def opened(written: str | msgspec.Struct) -> Format:
    """The format that was chosen, ready for use. Raises NotFoundError for a name that is none."""
    name = written if isinstance(written, str) else str(written.__struct_config__.tag)
    kind = formats().get(name)
    if kind is None:
        raise NotFoundError(f"there is no format {name}", remedy=nearest(name, formats()))
    options = kind.options() if isinstance(written, str) else written
    return load(kind.codec)(options)  # type: ignore[no-any-return]


def of_content_type(content_type: str) -> str | None:
    """The name of the format that a content type speaks of; None for one that says nothing."""
    bare = content_type.partition(";")[0].strip().lower()
    for name, kind in formats().items():
        if bare in kind.content_types:
            return name
    suffix = bare.rpartition("+")[2] if "+" in bare else ""
    return suffix if suffix in formats() else None


class LazySpec:
    """A step's `Spec` that is known once all plugins are."""

    def __init__(self, key: str, prefix: str, *further: type[msgspec.Struct]) -> None:
        self._key = key
        self._prefix = prefix
        self._further = further

    def __get__(self, instance: object, owner: type[Any]) -> Any:
        return name_or_choice(self._key, self._prefix, *self._further)
