"""From an error to one line on stderr and an exit code. A traceback is shown only to who asks with --verbose."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from arint.errors import ArintError, NotValidError
from arintctl.text import printable

if TYPE_CHECKING:
    from arintctl.session import Session

INTERRUPTED = 130


def guarded(session: Session, call: Callable[[], None]) -> int:
    """Run a command's function; the exit code."""
    try:
        call()
        sys.stdout.flush()
    except ArintError as error:
        tell(error, verbose=session.settings.verbose)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # of this machine, such as a disk that is full under our own output
        return _tell_of_the_machine(error, verbose=session.settings.verbose)
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:  # a defect of ours: still one line, never a traceback unasked
        _tell_defect(error, verbose=session.settings.verbose)
        return ArintError.exit_code
    return 0


def _tell_of_the_machine(error: OSError, *, verbose: bool) -> int:
    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
    try:
        sys.stdout.flush()
    except OSError:
        where = "standard output"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    tell(ArintError(error.strerror or str(error) or type(error).__name__, where=where), verbose=verbose)
    return ArintError.exit_code


def tell(error: ArintError, *, verbose: bool) -> None:
    """The error on stderr: one line, and a line for each problem of a manifest."""
    _line(f"arintctl: {error.title}: {error}")
    if isinstance(error, NotValidError):
        for problem in error.problems:
            _line(f"  {problem}")
    if verbose:
        _trace(error)


def _tell_defect(error: Exception, *, verbose: bool) -> None:
    hint = "" if verbose else " (a defect of arintctl; --verbose shows where)"
    _line(f"arintctl: internal error: {type(error).__name__}: {error}{hint}")
    if verbose:
        _trace(error)


def _trace(error: BaseException) -> None:
    import traceback

    sys.stderr.write("".join(traceback.format_exception(error)))


def _line(text: str) -> None:
    sys.stderr.write(printable(text, multiline=True) + "\n")
