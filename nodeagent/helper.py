"""Short work in a process of its own, which ends: for what would cost the agent memory for good.

Python's `ssl` and `cryptography` are 10 MiB together; the agent needs the one every few seconds, the other at a change
of secrets.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from arint.errors import ArintError

_PIPE = asyncio.subprocess.PIPE


async def run(module: str, *arguments: str, data: bytes = b"") -> bytes:
    """What `python -m module arguments`, given `data` on stdin, writes to stdout. It ends with a cancellation too.

    Raises ArintError with the last line of its stderr if it fails.
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
        raise ArintError(lines[-1] if lines else f"it ended with code {process.returncode}")
    return written
