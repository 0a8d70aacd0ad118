"""The options that every command has, and those that many share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from arint.errors import ArintError, UsageError

Format = Literal["table", "wide", "json", "yaml", "name"]

OutputFormat = Annotated[Format | None, typer.Option("-o", "--output", help="How to print the result.")]
HomePath = Annotated[Path | None, typer.Option("--home", help="The cluster's home folder ($ARINT_HOME).")]
ContextName = Annotated[str | None, typer.Option("--context", help="A context of the configuration file.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress on stderr.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="All that is known about a failure.")]

Timeout = Annotated[str, typer.Option("--timeout", metavar="DURATION", help="How long to wait at most, such as 30s.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it runs as declared.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]


def seconds_of(duration: str) -> float:
    """A duration such as 30s, in seconds. Raises UsageError."""
    from arint.resources.quantities import seconds

    try:
        return seconds(duration)
    except (ValueError, KeyError):
        raise UsageError(f"{duration!r} is no duration", remedy="write 500ms, 30s, 5m or 24h") from None


def confirm(question: str) -> None:
    """Ask on the terminal. Raises UsageError where there is nobody to ask, ArintError on a no."""
    if not sys.stdin.isatty():
        raise UsageError("a confirmation is needed", remedy="add --yes")
    if not typer.confirm(question, err=True):
        raise ArintError("not confirmed; nothing was changed")
