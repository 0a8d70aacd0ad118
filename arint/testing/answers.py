"""What stands for a service or a connection that answers otherwise each time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, repeat
from typing import Any


def in_order(*answers: Any) -> Callable[[bytes], Any]:
    """These answers, one after the other; the last stands for all that come after. One that is an error is raised."""
    following = chain(answers, repeat(answers[-1]))

    def answer(_: bytes) -> Any:
        found = next(following)
        if isinstance(found, BaseException):
            raise found
        return found

    return answer
