"""`normalize`: the body becomes exactly the declared fields, each of its type, whatever way it was written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from arint.errors import RejectedError
from arint.flows.state import State
from arint.flows.step import Mistakes, PureStep, StepError
from plugins.formats.specs import FieldName
from plugins.formats.steps import locales, values

Kind = Literal["text", "integer", "number", "decimal", "boolean", "date", "time", "datetime", "object", "list", "any"]
_SHOWN = 5
_MISSING: Any = object()
_NESTING = ("object", "list")


class NormalField(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One field of the result. What is missing or empty gets the `default`; without one it is left out.

    `integer` and `number` become numbers, `decimal` a text that keeps every digit, dates and times what ISO 8601
    writes. `format` is as Python's strptime has it; several may be tried.
    """

    type: Kind = "text"
    source: Annotated[str, msgspec.Meta(description="where it stood, with dots; else under its own name")] = (
        msgspec.field(default="", name="from"))
    default: Any = None
    required: Annotated[bool, msgspec.Meta(description="without it the message is rejected")] = False
    format: Annotated[str | list[str], msgspec.Meta(description="of dates and times, such as %d.%m.%Y")] = ""
    timezone: Annotated[str, msgspec.Meta(description="of a datetime that names none")] = "UTC"
    decimal: Annotated[str, msgspec.Meta(max_length=1, description="sign before the fraction")] = ""
    group: Annotated[str, msgspec.Meta(max_length=1, description="sign between thousands")] = ""
    trim: Annotated[bool, msgspec.Meta(description="take spaces around text away")] = True
    case: Literal["", "lower", "upper", "title"] = ""
    max: Annotated[int, msgspec.Meta(ge=1, description="characters of a text")] | None = None
    true_is: Annotated[list[str], msgspec.Meta(description="what counts as true, in any case")] = []
    false_is: Annotated[list[str], msgspec.Meta(description="what counts as false, in any case")] = []
    fields: dict[FieldName, NormalField | Kind] = {}
    items: Annotated[Kind, msgspec.Meta(description="of a list without `fields`")] = "any"


class NormalizeSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`fields` are those of the result, in their order; of a list, those of each item.

    `others`: what becomes of fields that nothing is made of.
    """

    fields: Annotated[dict[FieldName, NormalField | Kind], msgspec.Meta(min_length=1)]
    locale: Annotated[locales.Name | None, msgspec.Meta(description="how numbers and days are written")] = None
    others: Literal["drop", "keep", "reject"] = "drop"


class Normalize(PureStep):
    """Trims, renames, converts and completes: numbers and dates as a locale or format writes them become those of JSON
    and ISO 8601, text becomes NFC.
    """

    key: ClassVar[str] = "normalize"
    Spec: ClassVar[Any] = NormalizeSpec

    def __init__(self, spec: NormalizeSpec) -> None:
        locale = locales.LOCALES[spec.locale] if spec.locale else locales.NEUTRAL
        found = Mistakes()
        self._object = _Object(spec.fields, locale, spec.others, found, ("fields",))
        found.refuse()

    def apply(self, state: State) -> None:
        """Raises RejectedError with the first few mistakes: their places, never the values."""
        mistakes: list[str] = []
        body = state.body
        if isinstance(body, list):
            made: Any = [self._object.made(item, f"{number}.", mistakes) for number, item in enumerate(body)]
        else:
            made = self._object.made(body, "", mistakes)
        if mistakes:
            more = f" (and {len(mistakes) - _SHOWN} more)" if len(mistakes) > _SHOWN else ""
            raise RejectedError("the body does not fit: " + "; ".join(mistakes[:_SHOWN]) + more)
        state.body = made


class _Object:
    """Makes an object of declared fields."""

    def __init__(self, fields: dict[str, NormalField | Kind], locale: locales.Locale, others: str, found: Mistakes,
                 path: tuple[str, ...]) -> None:
        self._fields: list[_Field] = []
        self._others = others
        for name, written in fields.items():
            field = written if isinstance(written, NormalField) else NormalField(type=written)
            with found.at(*path, name):
                self._fields.append(_Field(name, field, locale, others, found))
        self._used = {field.path[0] for field in self._fields}

    def made(self, body: Any, place: str, mistakes: list[str]) -> Any:
        """The new object; what does not fit is told in `mistakes`."""
        if not isinstance(body, dict):
            mistakes.append(f"{place.rstrip('.') or 'it'}: no object")
            return None
        result: dict[str, Any] = {}
        for field in self._fields:
            value = field.made(body, place, mistakes)
            if value is not _MISSING:
                result[field.name] = value
        if self._others != "drop":
            left = {name: value for name, value in body.items() if name not in self._used and name not in result}
            if self._others == "keep":
                result |= left
            elif left:
                mistakes.append(f"{place.rstrip('.') or 'it'}: {len(left)} fields are not declared")
        return result


class _Field:
    """Makes one field."""

    def __init__(self, name: str, field: NormalField, locale: locales.Locale, others: str, found: Mistakes) -> None:
        self.name = name
        self.path = tuple((field.source or name).split(".")) if field.source else (name,)
        self._field = field
        self._inner: _Object | None = None
        self._convert: Callable[[Any], Any] | None = None
        if not all(self.path):
            raise StepError("a path with an empty part", ("from",))
        if field.fields and field.type not in _NESTING:
            raise StepError("only an object or a list has fields", ("fields",), "type: object")
        if field.fields:
            self._inner = _Object(field.fields, locale, others, found, ("fields",))
        elif field.type not in _NESTING:
            self._convert = _converter(field, locale)
        elif field.type == "list" and field.items not in _NESTING:
            self._convert = _converter(msgspec.structs.replace(field, type=field.items), locale)

    def made(self, body: dict[str, Any], place: str, mistakes: list[str]) -> Any:
        """The value, or _MISSING."""
        value: Any = body
        for part in self.path:
            value = value.get(part) if isinstance(value, dict) else None
        field = self._field
        if value is None or (isinstance(value, str) and (not value or (field.trim and value.isspace()))):
            if field.default is not None:
                return field.default
            if field.required:
                mistakes.append(f"{place}{self.name}: missing")
            return _MISSING
        if field.type == "list":
            return self._list(value, f"{place}{self.name}.", mistakes)
        if self._inner is not None:
            return self._inner.made(value, f"{place}{self.name}.", mistakes)
        return self._one(value, f"{place}{self.name}", mistakes)

    def _list(self, value: Any, place: str, mistakes: list[str]) -> Any:
        """XML and others write a list of one as the one."""
        items = value if isinstance(value, list) else [value]
        if self._inner is not None:
            return [self._inner.made(item, f"{place}{number}.", mistakes) for number, item in enumerate(items)]
        return [self._one(item, f"{place}{number}", mistakes) for number, item in enumerate(items)]

    def _one(self, value: Any, place: str, mistakes: list[str]) -> Any:
        if self._convert is None:
            if self._field.type == "object" and not isinstance(value, dict):
                mistakes.append(f"{place}: no object")
            return value
        try:
            return self._convert(value)
        except (ValueError, OverflowError, ArithmeticError) as error:
            mistakes.append(f"{place}: {error}")
            return None


def _converter(field: NormalField, locale: locales.Locale) -> Callable[[Any], Any]:
    formats = tuple([field.format] if isinstance(field.format, str) else field.format) if field.format else ()
    decimal = field.decimal or locale.decimal
    group = field.group or locale.group
    match field.type:
        case "text":
            return lambda value: values.text(value, trim=field.trim, case=field.case, longest=field.max)
        case "integer" | "number" | "decimal":
            if decimal == group:
                raise StepError("the signs for fraction and thousands are the same", ("decimal",))
            return lambda value: values.number(value, field.type, decimal, group)
        case "boolean":
            return values.truths(field.true_is, field.false_is)
        case "date" | "time":
            return values.moments(field.type, formats or ((locale.day, "%Y-%m-%d") if field.type == "date" else ()))
        case "datetime":
            try:
                return values.instants(formats, field.timezone)
            except (ValueError, OSError, LookupError):
                raise StepError(f"there is no time zone {field.timezone!r}", ("timezone",),
                                "such as Europe/Bucharest") from None
        case _:
            return lambda value: value
