"""Checks plain data against a type and finds every mistake, where msgspec stops at the first.

Works for any type that msgspec knows; it walks structs, lists and dicts itself and leaves single values to msgspec.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Collection, Iterator
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from arint.resources.kinds import SecretReference
from arint.resources.problems import Path, nearest

_SEQUENCES = (list, tuple, set, frozenset)
_WORDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "null": "nothing",
          "object": "a mapping (key: value)", "array": "a list"}


class Mistake(msgspec.Struct, frozen=True):
    """One mistake at `path` in the data; `on_key`: the key itself is wrong, not its value."""

    path: Path
    message: str
    suggestion: str = ""
    on_key: bool = False


Report = Callable[[Mistake], None]


def mistakes(value: Any, expected: Any, path: Path = ()) -> list[Mistake]:
    """Everything in which `value` is not what the type `expected` says."""
    found: list[Mistake] = []
    _check(value, expected, path, found.append)
    return found


def struct_mistakes(value: dict[str, Any], struct: type[msgspec.Struct], path: Path = (), *,
                    also_known: Collection[str] = (), ignore: Collection[str] = ()) -> list[Mistake]:
    """As `mistakes`, for a struct whose written form differs: further keys are allowed, some fields are not written.

    What the struct as a whole refuses (`__post_init__`) is left to the caller, who can build it.
    """
    found: list[Mistake] = []
    fields = {field.encode_name: field for field in _fields_of(struct) if field.name not in ignore}
    also_known = {*also_known, *filter(None, (struct.__struct_config__.tag_field,))}
    for key, item in value.items():
        if key in fields:
            _check(item, fields[key].type, (*path, key), found.append)
        elif key not in also_known and struct.__struct_config__.forbid_unknown_fields:
            free = (set(fields) | set(also_known)) - set(value)
            found.append(Mistake((*path, key), f'unknown key "{key}"', nearest(key, free), on_key=True))
    found += [Mistake(path, f'the key "{name}" is missing')
              for name, field in fields.items() if field.required and name not in value]
    return found


@cache
def _fields_of(struct: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Msgspec reads the annotations anew each time, which takes a millisecond."""
    return msgspec.structs.fields(struct)


def _check(value: Any, expected: Any, path: Path, report: Report) -> None:
    """Walk into what has parts; then, if they are all right, ask msgspec about the whole."""
    bare = _bare(expected, value)
    found = list(_in_parts(value, bare, path))
    for mistake in found:
        report(mistake)
    if not found:
        _check_single(value, expected, path, report)


def _in_parts(value: Any, bare: Any, path: Path) -> Iterator[Mistake]:
    found: list[Mistake] = []
    origin, arguments = get_origin(bare), get_args(bare)
    if _is_struct(bare):
        yield from struct_mistakes(value, bare, path) if isinstance(value, dict) else [_misfit(value, bare, path)]
    elif isinstance(value, list) and (origin in (list, set, frozenset) or (origin is tuple and arguments[-1] is ...)):
        for index, item in enumerate(value):
            _check(item, arguments[0], (*path, index), found.append)
    elif origin is dict and isinstance(value, dict) and arguments:
        for key, item in value.items():
            _check_single(key, arguments[0], (*path, key), found.append, on_key=True)
            _check(item, arguments[1], (*path, key), found.append)
    yield from found


def _tags(choices: Collection[Any]) -> dict[Any, type[msgspec.Struct]]:
    """The structs among these that a key of theirs tells apart, by what stands there."""
    return {choice.__struct_config__.tag: choice for choice in choices
            if _is_struct(choice) and choice.__struct_config__.tag is not None}


def _is_struct(expected: Any) -> bool:
    return isinstance(expected, type) and issubclass(expected, msgspec.Struct)


def _bare(expected: Any, value: Any) -> Any:
    """The type without Annotated; of a union, the alternative that a value of this shape is meant to be."""
    while get_origin(expected) is Annotated:
        expected = get_args(expected)[0]
    if get_origin(expected) not in (Union, types.UnionType):
        return expected
    choices = [_bare(choice, value) for choice in get_args(expected)]
    if isinstance(value, dict) and (tags := _tags(choices)):
        field = next(iter(tags.values())).__struct_config__.tag_field
        return tags.get(value.get(str(field)), expected)
    if len(others := [choice for choice in choices if choice is not types.NoneType]) == 1 and value is not None:
        return others[0]
    for choice in choices:
        shape = get_origin(choice) or choice
        if isinstance(value, dict) and (shape is dict or _is_struct(choice)):
            return choice
        if isinstance(value, list) and shape in _SEQUENCES:
            return choice
    return expected


def _misfit(value: Any, struct: type[msgspec.Struct], path: Path) -> Mistake:
    if struct is SecretReference:
        return Mistake(path, "a secret value does not stand in a manifest",
                       "write {secret: NAME} and declare a Secret of that name")
    keys = ", ".join(struct.__struct_encode_fields__)
    return Mistake(path, f"must be a mapping (key: value), not {_shape(value)}", f"keys: {keys}")


def _check_single(value: Any, expected: Any, path: Path, report: Report, *, on_key: bool = False) -> None:
    try:
        msgspec.convert(value, expected)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `")
        message, suggestion = _in_words(text, expected, value)
        if place and (message == text or text.startswith("Invalid value")):
            path = (*path, *_parts(place.rstrip("`")))
        report(Mistake(path, message, suggestion, on_key))
    except (ValueError, KeyError, RecursionError) as error:
        report(Mistake(path, f"not valid: {error}"))


def _parts(place: str) -> Path:
    """The path in msgspec's `$.a.b[0][...]`."""
    return tuple(int(part) if part.isdigit() else part for part in re.findall(r"\.([A-Za-z_]\w*)|\[(\d+)\]", place)
                 for part in part if part)


def _in_words(text: str, expected: Any, value: Any) -> tuple[str, str]:
    """Msgspec's message as a sentence for the writer of a manifest, and a suggestion."""
    choices = _choices(expected)
    wrong = re.fullmatch(r"Invalid (?:enum )?value '(.*)'", text, re.DOTALL)
    if wrong and (known := [*_tags(get_args(expected))] if isinstance(value, dict) else choices):
        return f"{wrong[1]!r} is not allowed here", nearest(wrong[1], filter(None, map(str, known)))
    if "matching regex" in text:
        return f"must be {_form(expected) or _description(expected)}", ""
    shape = re.fullmatch(r"Expected `([^`]*)`, got `(\w+)`", text)
    if shape:
        wanted = " or ".join(_WORDS.get(name.strip(), name.strip()) for name in shape[1].split("|")
                             if name.strip() != "null" or shape[1] == "null")
        quotes = "put it in quotes" if "str" in shape[1].split(" | ") and isinstance(value, int | float) else ""
        hint = _description(expected, "")
        return f"must be {wanted}, not {_shape(value)}", quotes or hint
    limit = re.fullmatch(r"Expected `(\w+)` (>=|<=|>|<|of length >=|of length <=) ([\d.]+)", text)
    if limit:
        words = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than",
                 "of length >=": "at least of length", "of length <=": "at most of length"}
        return f"must be {words[limit[2]]} {limit[3]}", ""
    missing = re.fullmatch(r"Object missing required field `([^`]*)`", text)
    return f'the key "{missing[1]}" is missing' if missing else text, ""


def _shape(value: Any) -> str:
    if value is None:
        return "empty"
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
    return names.get(type(value), type(value).__name__)


def _choices(expected: Any) -> list[str]:
    while get_origin(expected) is Annotated:
        expected = get_args(expected)[0]
    if get_origin(expected) is Literal:
        return [str(choice) for choice in get_args(expected)]
    return [choice for part in get_args(expected) for choice in _choices(part)]


def _form(expected: Any) -> str:
    """What the pattern's own Meta says, however deep it stands: a field that uses it may tell of something else."""
    metas = [meta for meta in getattr(expected, "__metadata__", ()) if isinstance(meta, msgspec.Meta) and meta.pattern]
    if metas:
        return metas[-1].description or f"text of the form {metas[-1].pattern}"
    inner = [form for part in get_args(expected) if not isinstance(part, msgspec.Meta) and (form := _form(part))]
    return inner[0] if inner else ""


def _description(expected: Any, default: str = "of another form") -> str:
    """What the type's Meta says of itself, or else its pattern."""
    for part in (expected, *get_args(expected)):
        metas = [meta for meta in getattr(part, "__metadata__", ()) if isinstance(meta, msgspec.Meta)]
        for meta in metas:
            if meta.description:
                return meta.description
        for meta in metas:
            if meta.pattern and default:
                return f"text of the form {meta.pattern}"
    return default
