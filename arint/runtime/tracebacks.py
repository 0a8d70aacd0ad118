"""Where in a service's own code something was raised, without the frames that lead there."""

from __future__ import annotations

import re
from itertools import dropwhile
from traceback import FrameSummary, StackSummary, TracebackException

_SHIPPED = re.compile(r"/artifacts/[0-9a-f]{64}/")
_FRAME = re.compile(r'File "[^"]*?/artifacts/[0-9a-f]{64}/([^"]+)", line (\d+)')


def user_line(traceback: str) -> str:
    """The innermost line of shipped code in a traceback, such as `price.py:31`; empty if there is none."""
    found = _FRAME.findall(traceback)
    return f"{found[-1][0]}:{found[-1][1]}" if found else ""


def traceback_from_user_code(error: BaseException) -> str:
    """The traceback from the first line of shipped code on; whole, but for our frames, if no shipped code is in it."""
    lines = TracebackException.from_exception(error)
    theirs = list(dropwhile(lambda frame: not _SHIPPED.search(frame.filename), lines.stack))
    lines.stack = StackSummary.from_list([frame for frame in theirs or lines.stack if not _is_ours(frame)])
    return "".join(lines.format())


def _is_ours(frame: FrameSummary) -> bool:
    """What loads and calls a service, the import machinery and threads among it."""
    return any(part in frame.filename for part in ("/arint/runtime/", "importlib", "/concurrent/futures/", "/asyncio/"))
