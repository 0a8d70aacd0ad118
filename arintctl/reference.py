"""Writes docs/reference/cli.md from the commands themselves (`make docs`); a test fails when it is old."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arintctl.app import build
from arintctl.catalogue import CATALOGUE

FILE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"
WIDTH = 100
HEAD = """# arintctl

<!-- Written by `make docs` from the commands themselves; do not edit. -->

    arintctl [OPTIONS] NOUN VERB | VERB …

Exit codes: 0 done · 1 failed · 2 usage · 3 not found · 4 conflict · 5 timed out · 6 unreachable · 7 denied ·
8 not valid · `plan` and `diff`: 10 where something would change.

`-o json` prints a list as an array and a resource as `{kind, name, spec, status}`; nothing but data stands on stdout.
"""


def text() -> str:
    """The whole reference."""
    root = build()
    parts = [HEAD, _section("arintctl", root, None)]
    with _context(root, "arintctl", None) as above:
        for word in CATALOGUE:
            parts += list(_sections(f"arintctl {word}", root.get_command(above, word), above))
    return "\n".join(parts)


def leaves() -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its whole name behind `arintctl`."""
    root = build()
    for word in CATALOGUE:
        yield from _leaves(word, root.get_command(None, word))


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    verbs = getattr(command, "commands", {})
    if not verbs:
        yield name, command
    for verb, below in verbs.items():
        yield from _leaves(f"{name} {verb}", below)


def _sections(name: str, command: Any, above: Any) -> Iterator[str]:
    verbs = getattr(command, "commands", {})
    if not verbs:
        yield _section(name, command, above)
        return
    with _context(command, name.rpartition(" ")[2], above) as ctx:
        for verb, below in verbs.items():
            yield from _sections(f"{name} {verb}", below, ctx)


def _section(name: str, command: Any, above: Any) -> str:
    with _context(command, name.rpartition(" ")[2], above) as ctx:
        return f"## {name}\n\n```text\n{command.get_help(ctx).rstrip()}\n```\n"


def _context(command: Any, name: str, above: Any) -> Any:
    """The context in which a command writes its help, as wide here as anywhere."""
    return command.make_context(name, [], parent=above, resilient_parsing=True, terminal_width=WIDTH,
                                max_content_width=WIDTH)


def main() -> None:
    """Write the file."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
