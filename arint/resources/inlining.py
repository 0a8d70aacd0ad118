"""Files that a flow's steps name become part of the flow, so that a change set is complete in itself.

A step type says which of its fields name files: `files = {"schema": ("schema", "json")}` means that text in the field
`schema` is the name of a JSON file, whose content stands in the field `schema` afterwards. Names are relative to the
manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

import msgspec

from arint.resources.canonical import LARGEST
from arint.resources.checking import Mistake
from arint.resources.problems import Path


def inline_files(value: Any, path: Path, steps: Mapping[str, type[Any]], folder: FilePath,
                 found: list[Mistake]) -> Any:
    """`value` (steps, or anything within them) with files inlined; what cannot be read is added to `found`."""
    if isinstance(value, list):
        return [inline_files(item, (*path, index), steps, folder, found) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    inlined: dict[str, Any] = {}
    for key, item in value.items():
        files = getattr(steps.get(key), "files", {})
        if files and isinstance(item, dict):
            inlined[key] = _inline_fields(item, files, (*path, key), folder, found)
        else:
            inlined[key] = inline_files(item, (*path, key), steps, folder, found)
    return inlined


def _inline_fields(spec: dict[str, Any], files: Mapping[str, tuple[str, str]], path: Path, folder: FilePath,
                   found: list[Mistake]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for field, item in spec.items():
        if field not in files or not isinstance(item, str):
            result[field] = item
            continue
        target, form = files[field]
        try:
            result[target] = _content(folder / item, form)
        except (OSError, ValueError, RecursionError) as error:
            found.append(Mistake((*path, field), _why(item, error, folder), "the path is relative to the manifest"))
            result[field] = item
    return result


def _content(file: FilePath, form: str) -> Any:
    if file.exists() and not file.is_file():
        raise ValueError("is no file")
    if file.stat().st_size > LARGEST:
        raise ValueError(f"is larger than {LARGEST} bytes, the most that a resource may hold")
    data = file.read_bytes()
    try:
        return msgspec.json.decode(data) if form == "json" else data.decode()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}") from None


def _why(name: str, error: Exception, folder: FilePath) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no file {name} in {folder}"
    if isinstance(error, OSError):
        return f"{name} cannot be read: {error.strerror or error}"
    return f"{name} {error}"
