"""Columns and long texts on a terminal of some width. Pure but for the question how wide it is."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

_GAP = "   "
_INDENT = "    "
_READABLE = 30
"""Columns that a long text needs beside the others; with fewer it stands beneath them."""
_NARROWEST = 40


def width() -> int | None:
    """The columns of the terminal; None where stdout is none: what a program reads is never cut or wrapped."""
    return max(shutil.get_terminal_size().columns, _NARROWEST) if sys.stdout.isatty() else None


def columned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_line(line, widths) for line in lines)


def fitted(lines: Sequence[Sequence[str]], within: int, *, roomy: Sequence[bool], long: Sequence[bool]) -> str:
    """Lines of cells (the first holds the titles) that fit: long cells wrapped, then roomy columns left out."""
    if _needed(lines) <= within:
        return columned(lines)
    kept = [index for index, is_long in enumerate(long) if not is_long]
    for index in [index for index in reversed(kept) if roomy[index]]:
        if _needed(_only(lines, kept)) > within:
            kept.remove(index)
    short = _only(lines, kept)
    rest = _only(lines, [index for index, is_long in enumerate(long) if is_long])
    if not rest[0]:
        return columned(short)
    left = within - _needed(short) - len(_GAP)
    return _hanging(short, rest, left) if left >= _READABLE else _beneath(short, rest, within)


def wrapped(text: str, within: int | None, lead: str = "", hanging: str = "") -> str:
    """One line, or where it is too long several: each later one begins with `hanging`."""
    whole = lead + text
    if within is None or len(whole) <= within:
        return whole
    room = max(within - len(hanging), _NARROWEST // 2)
    return "\n".join(textwrap.wrap(whole, max(within, room + len(hanging)), subsequent_indent=hanging,
                                   drop_whitespace=True, break_on_hyphens=False, replace_whitespace=False))


def facts(pairs: Iterable[tuple[str, str]], within: int | None) -> str:
    """Names and values in two columns, long values wrapped in theirs."""
    known = list(pairs)
    room = max((len(name) for name, _ in known), default=0)
    return "\n".join(wrapped(value, within, f"{name.ljust(room)}{_GAP}", " " * (room + len(_GAP)))
                     for name, value in known)


def _hanging(short: Sequence[Sequence[str]], rest: Sequence[Sequence[str]], left: int) -> str:
    """The long cells at the end of the line, wrapped there; a second one after an arrow."""
    told = [[rest[0][0]], *(_pieces(cells, left) or ["-"] for cells in rest[1:])]
    widths = [max(map(len, column)) for column in zip(*short, strict=True)]
    indent = " " * (sum(widths) + len(_GAP) * len(widths))
    return "\n".join(line for cells, pieces in zip(short, told, strict=True)
                     for line in (_line([*cells, pieces[0]], [*widths, 0]), *(indent + one for one in pieces[1:])))


def _beneath(short: Sequence[Sequence[str]], rest: Sequence[Sequence[str]], within: int) -> str:
    """The long cells beneath their line, and nothing beneath where they are empty."""
    lines = columned(short).splitlines()
    told = [lines[0]]
    for line, cells in zip(lines[1:], rest[1:], strict=True):
        told.append(line)
        told += [wrapped(text, within, _INDENT, _INDENT) for text in _texts(cells)]
    return "\n".join(told)


def _pieces(cells: Sequence[str], within: int) -> list[str]:
    return [piece for text in _texts(cells) for piece in textwrap.wrap(text, within, break_on_hyphens=False)]


def _texts(cells: Sequence[str]) -> list[str]:
    return [text if number == 0 else f"→ {text}" for number, text in enumerate(cells) if text != "-"]


def _only(lines: Sequence[Sequence[str]], kept: Sequence[int]) -> list[list[str]]:
    return [[line[index] for index in kept] for line in lines]


def _needed(lines: Sequence[Sequence[str]]) -> int:
    return max(len(line) for line in columned(lines).splitlines()) if lines[0] else 0


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return _GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
