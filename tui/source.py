"""Where overviews come from: the agent's socket, or a fixed list in tests and for pictures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from arint.operations.overview import Overview


class Source(Protocol):
    """Something that tells how the cluster stands."""

    def follow(self) -> AsyncIterator[Overview]:
        """Overviews until whoever tells them goes away; then it can be called again.

        Raises ArintError where nobody answers.
        """
        ...
