from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodeagent.support import Node, make_home


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node whose agent is started, with fake workers."""
    made = Node(make_home(tmp_path / "home"))
    try:
        made.start()
        yield made
    finally:
        made.close()
