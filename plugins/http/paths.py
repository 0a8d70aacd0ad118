"""Paths with parameters: `/orders/{id}/lines` takes `/orders/7/lines`. Pure."""

from __future__ import annotations

import re
from typing import Generic, TypeVar
from urllib.parse import unquote

T = TypeVar("T")
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})\}")
Segments = tuple[str | None, ...]
"""Segment by segment; None where anything may stand."""


def segments_of(path: str) -> tuple[Segments, tuple[str, ...]]:
    """The path's segments and the names of its parameters. Raises ValueError for braces that make none."""
    segments: list[str | None] = []
    names: list[str] = []
    for segment in path[1:].split("/"):
        found = _PARAMETER.fullmatch(segment)
        if found:
            names.append(found[1])
        elif "{" in segment or "}" in segment:
            raise ValueError(f"path: {segment} is no parameter; one is a whole segment, such as /orders/{{id}}")
        segments.append(None if found else segment)
    if len(set(names)) < len(names):
        raise ValueError("path: a parameter's name stands there twice")
    return tuple(segments), tuple(names)


class Paths(Generic[T]):
    """What belongs to which path. An exact path goes before a form, in it a literal segment before a parameter."""

    def __init__(self) -> None:
        self._exact: dict[str, T] = {}
        self._forms: dict[int, dict[Segments, T]] = {}

    def get(self, path: str) -> T | None:
        """What was put there under this very path, or one that takes the same paths."""
        segments, names = segments_of(path)
        return self._forms.get(len(segments), {}).get(segments) if names else self._exact.get(path)

    def put(self, path: str, value: T) -> None:
        """This belongs to the path."""
        segments, names = segments_of(path)
        if names:
            forms = {**self._forms.get(len(segments), {}), segments: value}
            # A literal sorts before a parameter, the leftmost difference decides
            self._forms[len(segments)] = dict(sorted(forms.items(), key=lambda one: [part is None for part in one[0]]))
        else:
            self._exact[path] = value

    def find(self, path: str, raw: str = "") -> tuple[T, tuple[str, ...]] | None:
        """What takes this path, and what stands in the place of the parameters.

        `raw` is the path as it came: a slash that is written %2F belongs to its segment.
        """
        exact = self._exact.get(path)
        if exact is not None:
            return exact, ()
        return self._find_form([unquote(part) for part in (raw or path)[1:].split("/")]) if self._forms else None

    def _find_form(self, given: list[str]) -> tuple[T, tuple[str, ...]] | None:
        for form, value in self._forms.get(len(given), {}).items():
            if all(part is None or part == there for part, there in zip(form, given, strict=True)):
                found = tuple(there for part, there in zip(form, given, strict=True) if part is None)
                if all(found):  # a parameter stands for something
                    return value, found
        return None
