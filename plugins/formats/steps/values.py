"""Single values from the ways in which people and systems write them. Errors say what is wrong, never the value."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

_SPACES = re.compile("[\\s\u00a0\u202f\u2009]")
_LARGEST_EXACT = 2**53
_LONGEST_NUMBER = 400
_YES = ("true", "yes", "y", "1", "on", "t", "x")
_NO = ("false", "no", "n", "0", "off", "f", "")


def text(value: Any, *, trim: bool = True, case: str = "", longest: int | None = None) -> str:
    """Text in NFC; numbers and truths as JSON writes them."""
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, int | float):
        value = repr(value)
    elif not isinstance(value, str):
        raise ValueError("no text")  # noqa: TRY004 - as for all values of a message
    value = unicodedata.normalize("NFC", value)
    if trim:
        value = value.strip()
    if case:
        value = {"lower": str.lower, "upper": str.upper, "title": str.title}[case](value)
    if longest is not None and len(value) > longest:
        raise ValueError(f"longer than {longest} characters")
    return str(value)


def number(value: Any, kind: str, decimal: str, group: str) -> int | float | str:
    """A number; of kind `decimal` as text with all its digits."""
    found = _decimal(value, decimal, group)
    if not found.is_finite():
        raise ValueError("no finite number")
    if kind == "decimal":
        return format(found, "f")
    if found == found.to_integral_value() and (kind == "integer" or abs(found) <= _LARGEST_EXACT):
        if abs(found.adjusted()) > 18:
            raise ValueError("beyond the integers of 64 bits")
        whole = int(found)
        if not -2**63 <= whole < 2**64:
            raise ValueError("beyond the integers of 64 bits")
        return whole
    if kind == "integer":
        raise ValueError("no whole number")
    result = float(found)
    if result in (float("inf"), float("-inf")):
        raise ValueError("too large a number")
    return result


def _decimal(value: Any, decimal: str, group: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("no number")  # noqa: TRY004 - as for all values of a message
    if isinstance(value, int | float):
        return Decimal(repr(value))
    bare = _SPACES.sub("", value)
    if len(bare) > _LONGEST_NUMBER:
        raise ValueError("no number")
    sign = "-" if bare.startswith(("-", "\u2212")) or bare.endswith("-") else ""  # SAP writes the sign last
    bare = bare.strip("+-\u2212")
    whole, point, fraction = bare.partition(decimal)
    if group and group in whole:
        head, *groups = whole.split(group)
        if not head or any(len(part) not in (2, 3) for part in groups) or len(groups[-1]) != 3:
            raise ValueError("no number: the signs between thousands stand elsewhere")
        whole = head + "".join(groups)
    if not re.fullmatch(r"[0-9]*", whole) or not re.fullmatch(r"[0-9]*([eE][+-]?[0-9]{1,3})?", fraction) \
            or not (whole or fraction[:1].isdigit()):
        if not point and re.fullmatch(r"[0-9]+[eE][+-]?[0-9]{1,3}", whole):
            return Decimal(sign + whole)
        raise ValueError("no number")
    try:
        return Decimal(f"{sign}{whole or '0'}.{fraction or '0'}" if point else f"{sign}{whole}")
    except InvalidOperation:
        raise ValueError("no number") from None


def truths(yes: Sequence[str], no: Sequence[str]) -> Callable[[Any], bool]:
    """True or false by words; by the usual ones, if none are declared."""
    known = dict.fromkeys((word.casefold() for word in (no or (_NO if not yes else ()))), False)
    known |= dict.fromkeys((word.casefold() for word in (yes or (_YES if not no else ()))), True)

    def truth(value: Any) -> bool:
        if isinstance(value, bool):
            return value
        word = str(value).strip().casefold() if isinstance(value, str | int) else None
        if word not in known:
            raise ValueError("neither true nor false")
        return known[word]

    return truth


def moments(kind: str, formats: Sequence[str]) -> Callable[[Any], str]:
    """A date or a time of day, in ISO 8601."""

    def moment(value: Any) -> str:
        written = _text(value, f"no {kind}")
        for form in formats:
            try:
                found = datetime.strptime(written, form)
            except ValueError:
                continue
            return (found.date() if kind == "date" else found.time()).isoformat()
        if not formats or kind == "date":
            try:
                if kind == "time":
                    return time.fromisoformat(written).isoformat()
                return (date.fromisoformat(written) if len(written) <= 10 else
                        datetime.fromisoformat(written).date()).isoformat()
            except ValueError:
                pass
        raise ValueError(f"no {kind} of the declared form" if formats else f"no {kind}")

    return moment


def instants(formats: Sequence[str], timezone: str) -> Callable[[Any], str]:
    """A moment, in ISO 8601 and UTC. Numbers are seconds since 1970. Raises ValueError for a zone that is none."""
    zone = UTC if timezone == "UTC" else ZoneInfo(timezone)

    def instant(value: Any) -> str:
        if isinstance(value, int | float) and not isinstance(value, bool):
            found = datetime.fromtimestamp(value, UTC)
        else:
            found = _read(_text(value, "no datetime"), formats)
        if found.tzinfo is None:
            found = found.replace(tzinfo=zone)
        return found.astimezone(UTC).isoformat().replace("+00:00", "Z")

    return instant


def _read(written: str, formats: Sequence[str]) -> datetime:
    for form in formats:
        try:
            return datetime.strptime(written, form)
        except ValueError:
            continue
    if formats:
        raise ValueError("no datetime of the declared form")
    try:
        return datetime.fromisoformat(written)
    except ValueError:
        raise ValueError("no datetime") from None


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ValueError(what)  # noqa: TRY004 - a value of the message, told as all others are
    return str(value).strip()
