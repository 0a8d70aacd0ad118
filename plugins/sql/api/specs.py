"""What a user writes under `queries:` of a channel that leads to a database."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec

from arint.resources.kinds import Duration
from plugins.sql.specs import COLUMN, Column, ParameterName, Statement
from plugins.sql.wording import only_reads, parameters_of

CALLER = "caller"
"""A parameter that is always there: the name of the key that the caller has shown."""
MOST_ROWS = 10_000
_PATH = re.compile(r"(/[^\s?#/{}]+|/\{[A-Za-z_][A-Za-z0-9_]*\})*/?")
_IN_PATH = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_RESERVED = frozenset({CALLER, "limit", "after", "sort"})


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    """A parameter, by JSON Schema; `optional` ones are null where they are left out. Text has at most 1,000 signs.

    Those in the path are taken from there; of the others, GET and DELETE take them from the query, POST, PUT and PATCH
    from the body, which is then a JSON object. One that is an array is written `in :name` in the statement.
    """

    type: Literal["string", "integer", "number", "boolean", "array"]
    description: str = ""
    optional: bool = False
    default: Any = None
    enum: list[Any] | None = None
    format: Literal["date", "date-time", "time", "uuid", "email", ""] = ""
    pattern: str = ""
    min_length: Annotated[int, msgspec.Meta(ge=0)] = 0
    max_length: Annotated[int, msgspec.Meta(ge=0)] = 1000
    minimum: float | None = None
    maximum: float | None = None
    items: Literal["string", "integer", "number"] = "string"
    max_items: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100

    @property
    def kind(self) -> str:
        """The type of its value, or of each if it is an array."""
        return self.items if self.type == "array" else self.type

    @property
    def is_required(self) -> bool:
        """Must the caller give it?"""
        return not self.optional and self.default is None

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of its value."""
        single = self._of(self.kind)
        if self.type != "array":
            return single | self._told()
        return {"type": "array", "items": single, "minItems": 1, "maxItems": self.max_items} | self._told()

    def _of(self, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = {"type": kind}
        if kind == "string":
            found |= {"maxLength": self.max_length}
            found |= {"minLength": self.min_length} if self.min_length else {}
            found |= {key: value for key, value in (("format", self.format), ("pattern", self.pattern)) if value}
        limits = (("minimum", self.minimum), ("maximum", self.maximum), ("enum", self.enum))
        return found | {key: value for key, value in limits if value is not None}

    def _told(self) -> dict[str, Any]:
        told = (("description", self.description or None), ("default", self.default))
        return {key: value for key, value in told if value is not None}


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Rows in pages: the caller says `limit`, and follows `next`. `by` are columns that tell every row from all others.

    A page begins behind the last row of the one before, so rows that come and go meanwhile move none.
    """

    by: Annotated[str | list[str], msgspec.Meta(
        description="a column or several, never null, together unique; best the key")]
    size: Annotated[int, msgspec.Meta(ge=1, le=MOST_ROWS, description="rows, if the caller does not say")] = 100
    max: Annotated[int, msgspec.Meta(ge=1, le=MOST_ROWS, description="rows, whatever the caller says")] = 1000

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of `by`."""
        return (self.by,) if isinstance(self.by, str) else tuple(self.by)

    def __post_init__(self) -> None:
        # msgspec 0.22 crashes on a union of text with a pattern and a list
        if not self.columns or not all(re.fullmatch(COLUMN, column) for column in self.columns):
            raise ValueError("by: a column's name, or several: letters, digits, _")


class ApiQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One address of a data API: what is asked or done there, with which parameters, and by whom.

    A GET only reads: the database itself refuses everything else. The others do their statements in one transaction;
    with an `Idempotency-Key`, once.
    """

    statement: Statement | Annotated[list[Statement], msgspec.Meta(min_length=1)]
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    path: Annotated[str, msgspec.Meta(description="added to the channel's; {name} is a parameter")] = ""
    params: dict[ParameterName, Parameter] = {}
    rows: Annotated[Literal["one", "all", "scalar", "changed"] | None, msgspec.Meta(
        description="all: {items: […]}; one: an object, or 404; scalar: the value; changed: how many rows were. "
                    "If not said, all for GET, changed for the others")] = None
    page: Page | None = None
    sort: Annotated[list[Column], msgspec.Meta(description="columns that `?sort=NAME` or `?sort=-NAME` may name")] = []
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_ROWS, description="rows without pages; more are refused")] = 1000
    timeout: Annotated[Duration, msgspec.Meta(description="then the statement is ended, and the answer is 504")] = "5s"
    roles: Annotated[list[str], msgspec.Meta(description="a caller needs one of them; everybody may if there are none")
                     ] = []
    description: str = ""

    @property
    def statements(self) -> tuple[str, ...]:
        """All statements."""
        return (self.statement,) if isinstance(self.statement, str) else tuple(self.statement)

    @property
    def answered(self) -> Literal["one", "all", "scalar", "changed"]:
        """What is answered."""
        return self.rows or ("all" if self.method == "GET" else "changed")

    def __post_init__(self) -> None:
        _check(self)


def in_path(path: str) -> list[str]:
    """The names of a path's parameters."""
    return _IN_PATH.findall(path)


def _check(query: ApiQuery) -> None:
    """What the fields say of each other. Raises ValueError."""
    if not _PATH.fullmatch(query.path):
        raise ValueError("path: it begins with / and has no query; a parameter is a whole segment: /{id}")
    used = dict.fromkeys(name for statement in query.statements for name in parameters_of(statement))
    for name in used:
        if name not in query.params and name != CALLER and name not in in_path(query.path):
            raise ValueError(f"statement: :{name} is no parameter; declare it in params")
    _check_parameters(query, used)
    _check_reading(query)


def _check_parameters(query: ApiQuery, used: dict[str, None]) -> None:
    for name in in_path(query.path):
        if name not in query.params:
            raise ValueError(f"path: {{{name}}} is no parameter; declare it in params")
        if query.params[name].type == "array" or not query.params[name].is_required:
            raise ValueError(f"params: {name} stands in the path, so it is neither an array nor optional")
    for name in query.params:
        if name in _RESERVED:
            raise ValueError(f"params: {name} has a meaning of its own here; give it another name")
        if name not in used:
            raise ValueError(f"params: no statement has :{name}")


def _check_reading(query: ApiQuery) -> None:
    if query.method == "GET" and not all(only_reads(statement) for statement in query.statements):
        raise ValueError("method: a GET only reads; what changes something is a POST, PUT, PATCH or DELETE")
    if query.method == "GET" and query.answered == "changed":
        raise ValueError("rows: a GET changes nothing")
    if query.page is not None or query.sort:
        if query.page is None:
            raise ValueError("sort: it needs pages; say page: {by: COLUMN}")
        if query.answered != "all" or len(query.statements) > 1 or query.method != "GET":
            raise ValueError("page: it belongs to a GET of one statement with all its rows")
        if query.statements[0].rstrip().endswith(";"):
            raise ValueError("statement: without a semicolon at its end, since pages are cut from it")
