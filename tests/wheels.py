"""Small wheels, made by hand: what services require in tests, with no package index far and wide."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def make_wheel(folder: Path, name: str, version: str, files: Mapping[str, str] | None = None, *,
               requires: Sequence[str] = (), tag: str = "py3-none-any") -> Path:
    """A wheel of the distribution `name`; without `files` it is a module that knows its version."""
    folder.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    content = dict(files if files is not None else {f"{module}.py": f"version = {version!r}\n"})
    content[f"{info}/METADATA"] = "".join([f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
                                           *(f"Requires-Dist: {one}\n" for one in requires)])
    content[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n"
    record = "".join(f"{path},sha256={_digest(text)},{len(text.encode())}\n" for path, text in content.items())
    content[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    wheel = folder / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in content.items():
            archive.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), text)
    return wheel


def make_index(folder: Path, files: Sequence[Path]) -> str:
    """A package index in a folder, as pip reads it; its address."""
    by_name: dict[str, list[Path]] = {}
    for file in files:
        by_name.setdefault(file.name.partition("-")[0].replace("_", "-"), []).append(file)
    for name, mine in by_name.items():
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        links = (f'<a href="{file.as_uri()}#sha256={hashlib.sha256(file.read_bytes()).hexdigest()}">{file.name}</a>'
                 for file in mine)
        (place / "index.html").write_text(f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>")
    return folder.as_uri()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
