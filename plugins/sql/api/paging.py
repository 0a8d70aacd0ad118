"""Pages: where one begins, how its rows are ordered, and the text that leads to the next. Pure.

A page begins behind a row (keyset paging): the database finds it in an index, however far it is, where an offset would
have it count through all rows before. What leads there only ever becomes bound values.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec

from arint.errors import MalformedError
from plugins.sql.api.specs import ApiQuery, Page
from plugins.sql.api.values import Given
from plugins.sql.positions import Values, read, written

RESERVED = ("limit", "after", "sort")
_LONGEST = 4000


class PageOf(msgspec.Struct, frozen=True):
    """Which page is asked for: `sort` is a column or empty; `after` the values of its order in the last row before."""

    by: tuple[str, ...]
    size: int
    sort: str = ""
    descending: bool = False
    after: Values | None = None
    link: str = ""
    """The query of the next page, up to the value of `after`."""

    @property
    def order(self) -> tuple[str, ...]:
        """The columns by which a row is known in it."""
        return (self.sort, *self.by) if self.sort and self.sort not in self.by else self.by


def page_of(query: ApiQuery, given: Given) -> tuple[PageOf | None, Given]:
    """The page that is asked for, and the parameters that are left. Raises MalformedError."""
    if query.page is None:
        return None, given
    rest = {name: value for name, value in given.items() if name not in RESERVED}
    sort = _one(given, "sort")
    column = sort.removeprefix("-")
    if column and column not in query.sort:
        raise MalformedError(f"it cannot be sorted by {column[:63]!r}, but by {', '.join(query.sort) or 'nothing'}")
    page = PageOf(query.page.columns, _size(query.page, _one(given, "limit")), column, sort.startswith("-"))
    link = urlencode([*((name, value) for name, value in given.items() if name != "after"), ("after", "")], doseq=True)
    return msgspec.structs.replace(page, link="?" + link, after=_after(page, _one(given, "after"))), rest


def _one(given: Given, name: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str):
        raise MalformedError(f"the parameter {name} may stand there once")
    return value


def _size(page: Page, text: str) -> int:
    if not text:
        return min(page.size, page.max)
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or not int(text):
        raise MalformedError("the parameter limit must be a whole number, at least 1")
    return min(int(text), page.max)


def _after(page: PageOf, text: str) -> Values | None:
    if not text:
        return None
    try:
        texts = msgspec.json.decode(urlsafe_b64decode(text[:_LONGEST].encode("ascii")), type=list[str | None])
        values = tuple(None if one is None else read([one])[0] for one in texts)
    except (ValueError, KeyError, ArithmeticError, IndexError):
        raise MalformedError("the parameter after is not one that was given in `next`") from None
    if len(values) != len(page.order) or any(value is None for value in values[-len(page.by):]):
        raise MalformedError("the parameter after belongs to another order")
    return values


def mark(values: Sequence[Any]) -> str:
    """What `after` says for the page behind this row."""
    texts = [None if value is None else written((value,))[0] for value in values]
    return urlsafe_b64encode(msgspec.json.encode(texts)).decode()


def statement(query: str, page: PageOf, quote: Callable[[str], str]) -> str:
    """The query's rows of this page. Rows whose `sort` is null come last, either way."""
    where = [f"where {_behind(page, quote)}"] if page.after is not None else []
    return " ".join([f"select * from ({query}) arint_rows", *where,  # noqa: S608 - declared, and names of columns
                     f"order by {', '.join(_ordered(page, quote))} limit :arint_limit"])


def bound(page: PageOf) -> Mapping[str, Any]:
    """The values of `statement`'s own parameters: one row more than the page has, to see whether another follows."""
    after = page.after or ()
    return {f"after_{index}": value for index, value in enumerate(after) if value is not None} | {
        "arint_limit": page.size + 1}


def _ordered(page: PageOf, quote: Callable[[str], str]) -> list[str]:
    columns = [quote(column) + _way(page, column) for column in page.order]
    return [f"case when {quote(page.sort)} is null then 1 else 0 end", *columns] if _is_by_sort(page) else columns


def _is_by_sort(page: PageOf) -> bool:
    return bool(page.sort) and page.sort not in page.by


def _way(page: PageOf, column: str) -> str:
    return " desc" if page.descending and column == page.sort else ""


def _behind(page: PageOf, quote: Callable[[str], str]) -> str:
    """Beyond the row `after`, column by column: the first in which they differ decides."""
    assert page.after is not None
    parts: list[str] = []
    same: list[str] = []
    for index, (column, value) in enumerate(zip(page.order, page.after, strict=True)):
        name, sign = quote(column), "<" if _way(page, column) else ">"
        if value is None:  # only the sorted column may be: behind it is nothing but what has none either
            same.append(f"{name} is null")
            continue
        beyond = f"{name} {sign} :after_{index}"
        if index == 0 and _is_by_sort(page):
            beyond = f"({beyond} or {name} is null)"
        parts.append(" and ".join([*same, beyond]))
        same.append(f"{name} = :after_{index}")
    return "(" + " or ".join(f"({part})" for part in parts) + ")"
