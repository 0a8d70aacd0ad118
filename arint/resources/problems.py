"""What is wrong in a manifest, and where: the thing a NotValidError carries, one for each mistake."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from arint.errors import NotValidError

Path = tuple[str | int, ...]


class Location(msgspec.Struct, frozen=True, order=True):
    """A place in a file; lines and columns count from 1. Line 0: the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Problem(msgspec.Struct, frozen=True, order=True):
    """One mistake: where it stands, the path of the field (`steps[2].call`), what is wrong, and what may be meant."""

    file: str
    line: int
    column: int
    path: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        path = f"{self.path}: " if self.path else ""
        suggestion = f" ({self.suggestion})" if self.suggestion else ""
        return f"{place}: {path}{self.message}{suggestion}"


def path_text(path: Path) -> str:
    """`("steps", 2, "call")` as people read it: `steps[2].call`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean "x"?` for the known word nearest to this one; else the known words; empty if there are none."""
    words = sorted(known)
    by_lower = {known.lower(): known for known in words}
    import difflib  # only a mistake needs it; the agent, who counts its memory, imports this module

    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    if near:
        return f'did you mean "{by_lower[near[0]]}"?'
    if not words:
        return ""
    shown = ", ".join(words[:20])
    return f"known: {shown}{', …' if len(words) > 20 else ''}"


def refuse(problems: Iterable[Problem]) -> None:
    """Raise one NotValidError with all of these problems, in the order of files and lines; return if there are none."""
    found = sorted(set(problems))
    if not found:
        return
    count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
    raise NotValidError(f"{count}; nothing was changed", problems=found)
