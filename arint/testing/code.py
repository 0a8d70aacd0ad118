"""The code of a service, as its manifest names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from arint.resources.kinds import Service


class ServiceCode:
    """What stands for a service: the code in `folder`, a callable (loaded when first called) or a program.

    `packages` is a folder of installed packages that it requires, beside those of this Python.
    """

    def __init__(self, folder: Path, service: Service, packages: Path | None = None) -> None:
        self.folder = folder
        self.packages = packages
        self.service = service
        self._function: Callable[..., Any] | None = None

    def load(self) -> Callable[..., Any]:
        """The callable. Raises what importing it raises."""
        from arint.runtime.loader import load_callable

        if self._function is None:
            # A name of its own for each test: two manifests may have a file of the same name.
            digest = f"{abs(hash((self.folder, self.service.source))):012x}"
            self._function = load_callable(self.folder, self.service.source, digest=digest,
                                           packages=self.packages)
        return self._function
