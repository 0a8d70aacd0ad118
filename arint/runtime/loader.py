"""Load a user's callable from shipped code, under a module name of its own, behind installed packages on `sys.path`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arint.errors import NotFoundError, NotValidError


def load_callable(folder: Path, source: str, *, digest: str, packages: Path | None = None) -> Callable[..., Any]:
    """The callable that `file.py:name` names, from the unpacked code in `folder`.

    The file becomes the module `arint_code_<digest>`; its neighbours are imported by their plain names, from a
    path entry at the *end* of `sys.path`, so that user code never goes ahead of installed packages. The folder
    `packages`, of what the code requires, comes after them.
    Raises NotFoundError or NotValidError; what the user's module raises at import passes through.
    """
    file, _, attribute = source.partition(":")
    path = folder / Path(file).name if not (folder / file).exists() else folder / file
    if not path.is_file():
        raise NotFoundError(f"the file {file} is not in the shipped code", where=str(folder),
                            remedy="check `source:` and apply again")
    root = str(path.parent)
    if root not in sys.path:
        sys.path.append(root)
    if packages is not None:
        _add_packages(packages)
    name = f"arint_code_{digest[:12] or path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise NotValidError(f"{file} is not a Python file", where=source)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    target: Any = module
    for part in attribute.split("."):
        target = getattr(target, part, None)
        if target is None:
            raise NotFoundError(f"{file} has no {attribute}", where=source, remedy="check the name after the colon")
    if not callable(target):
        raise NotValidError(f"{attribute} in {file} is not callable", where=source)
    return target  # type: ignore[no-any-return]


def _add_packages(folder: Path) -> None:
    """Make the installed set importable. Raises NotValidError where this node has one of it in another version."""
    from importlib.metadata import PackageNotFoundError, distributions, version

    place = str(folder)
    if place in sys.path:
        return
    for required in distributions(path=[place]):
        try:
            there = version(required.name)
        except PackageNotFoundError:
            continue
        if there != required.version:
            raise NotValidError(f"{required.name} {required.version} is required, and this node's own Python has "
                                f"{there}, which goes ahead of it", where=place,
                                remedy="apply the service again: its requirements are then resolved beside that")
    sys.path.append(place)
