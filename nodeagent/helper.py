"""Short work in a process of its own, which ends: for what would cost the agent memory for good.

Python's `ssl` and `cryptography` are 10 MiB together; the agent needs the one every few seconds, the other at a change
of secrets.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import NoReturn

from arint.errors import ArintError, TimedOutError, UnreachableError

AWAY = 75
"""The code (EX_TEMPFAIL) with which one ends that could not reach what it needs."""
_PIPE = asyncio.subprocess.PIPE


async def run(module: str, *arguments: str, data: bytes = b"") -> bytes:
    """What `python -m module arguments`, given `data` on stdin, writes to stdout. It ends with a cancellation too.

    Raises ArintError with the last line of its stderr if it fails, UnreachableError if it reached nobody.
    """
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, *arguments, stdin=_PIPE, stdout=_PIPE,
                                                   stderr=_PIPE)
    try:
        written, said = await process.communicate(data)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()  # what it still had to say is read: its end is told only when its pipes have ended
        raise
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        why = lines[-1] if lines else f"it ended with code {process.returncode}"
        raise UnreachableError(why) if process.returncode == AWAY else ArintError(why)
    return written


def fail(error: Exception) -> NoReturn:
    """End this process, which is a helper, so that who runs it is told why."""
    told = f"{error.strerror}: {error.filename or ''}" if isinstance(error, OSError) and error.strerror else str(error)
    print(" ".join(told.split()), file=sys.stderr)
    sys.exit(AWAY if isinstance(error, (UnreachableError, TimedOutError)) else 1)
