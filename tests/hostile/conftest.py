"""One cluster for the tests of a module; how it must be met stands in the modules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile.system import System


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running cluster with nothing applied."""
    with System(tmp_path_factory.mktemp("hostile")) as system:
        yield system
