"""The option `--arint-update` for pytest: the snapshots of `arint.testing` are written anew. Imports nothing."""

from __future__ import annotations

import os
from typing import Any


def pytest_addoption(parser: Any) -> None:
    """Add the option."""
    parser.getgroup("arint").addoption("--arint-update", action="store_true",
                                       help="write the snapshots of arint.testing anew")


def pytest_configure(config: Any) -> None:
    """Tell `arint.testing`, also in the processes of pytest-xdist."""
    os.environ["ARINT_ROOTDIR"] = str(config.rootpath)
    if config.getoption("--arint-update", default=False):
        os.environ["ARINT_UPDATE"] = "1"
